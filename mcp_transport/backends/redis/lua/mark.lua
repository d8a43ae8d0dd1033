-- Note how far a stream was handed to a socket.
-- KEYS record, streams  ARGV stream, delivered
local stream = load_stream(KEYS[2], ARGV[1], 0)
if stream and tonumber(ARGV[2]) > stream.delivered then
  stream.delivered = tonumber(ARGV[2])
  save_stream(KEYS[2], ARGV[1], stream)
end
return 1
