-- Record the last event and broadcast that were sent to a stream's socket, and that the socket which held the stream
-- since an epoch is closed. `last` rises to `delivered`, so that a store that has lost events reuses no number.
-- KEYS record, streams  ARGV ttl, stream, delivered, last broadcast, released epoch (0 = the socket is open)
local stream, delivered = load_stream(KEYS[2], ARGV[2], 0), tonumber(ARGV[3])
if not stream then return 1 end
local is_released = stream.holder ~= '' and stream.epoch == tonumber(ARGV[5])
if is_released then stream.holder = '' end
if is_released or delivered > stream.delivered or ARGV[4] > (stream.heard or '') then
  stream.delivered = math.max(stream.delivered, delivered)
  stream.last = math.max(stream.last, delivered)
  if ARGV[4] > (stream.heard or '') then stream.heard = ARGV[4] end
  save_stream(KEYS[2], ARGV[2], stream)
end
return 1
