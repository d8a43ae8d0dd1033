-- Note how far a stream was handed to a socket, and that the socket which had it since an epoch is gone; what the
-- store has lost of that, it does not number again.
-- KEYS record, streams  ARGV stream, delivered, heard, epoch (0 = the socket is there)
local stream, delivered = load_stream(KEYS[2], ARGV[1], 0), tonumber(ARGV[2])
if not stream then return 1 end
local is_left = stream.holder ~= '' and stream.epoch == tonumber(ARGV[4])
if is_left then stream.holder = '' end
if is_left or delivered > stream.delivered or ARGV[3] > (stream.heard or '') then
  stream.delivered = math.max(stream.delivered, delivered)
  stream.last = math.max(stream.last, delivered)
  if ARGV[3] > (stream.heard or '') then stream.heard = ARGV[3] end
  save_stream(KEYS[2], ARGV[1], stream)
end
return 1
