-- Note how far a stream was handed to a socket; what the store has lost of that, it does not number again.
-- KEYS record, streams  ARGV stream, delivered, heard
local stream, delivered = load_stream(KEYS[2], ARGV[1], 0), tonumber(ARGV[2])
if stream and (delivered > stream.delivered or ARGV[3] > (stream.heard or '')) then
  stream.delivered = math.max(stream.delivered, delivered)
  stream.last = math.max(stream.last, delivered)
  if ARGV[3] > (stream.heard or '') then stream.heard = ARGV[3] end
  save_stream(KEYS[2], ARGV[1], stream)
end
return 1
