-- Return how many events were lost, and the events after a number; an empty list if the stream has ended before; only
-- the epoch of a newer holder; nil for an unknown stream.
-- KEYS record, requests, streams, log  ARGV ttl, stream, after, the reader's epoch (0 = unknown)
local time = check_open(KEYS[1], ARGV[1])
if not time then return nil end
local stream = load_stream(KEYS[3], ARGV[2], time)
if not stream then
  if ARGV[2] ~= GET_STREAM and not node_of(KEYS[2], ARGV[2]) then return nil end
  return {0, {}}
end
local after, epoch = tonumber(ARGV[3]), tonumber(ARGV[4])
if epoch > 0 and stream.epoch > epoch then return {stream.epoch} end
if stream.kept_until and after >= stream.last then return {} end
local events, lost = events_after(stream, KEYS[4], after)
return {lost, events}
