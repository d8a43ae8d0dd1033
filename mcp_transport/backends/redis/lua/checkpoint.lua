-- Record the last event and broadcast that were sent to a stream's socket, and that the socket which held the stream
-- since an epoch is closed. `last` rises to `delivered`, so that a store that has lost events reuses no number.
-- KEYS record, streams  ARGV stream, delivered, last broadcast, released epoch (0 = the socket is open)
local stream, delivered = load_stream(KEYS[2], ARGV[1], 0), tonumber(ARGV[2])
if not stream then return 1 end
local is_released = stream.holder ~= '' and stream.epoch == tonumber(ARGV[4])
if is_released then stream.holder = '' end
if is_released or delivered > stream.delivered or ARGV[3] > (stream.heard or '') then
  stream.delivered = math.max(stream.delivered, delivered)
  stream.last = math.max(stream.last, delivered)
  if ARGV[3] > (stream.heard or '') then stream.heard = ARGV[3] end
  save_stream(KEYS[2], ARGV[1], stream)
end
return 1
