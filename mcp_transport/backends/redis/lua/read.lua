-- Return the events after a number; nothing where none can come any more; the epoch since which another response
-- has the stream; nil for a stream that is unknown.
-- KEYS record, flights, streams, log  ARGV ttl, stream, after, epoch of whoever reads (0 = unknown)
local time = open_at(KEYS[1], ARGV[1])
if not time then return nil end
local stream = load_stream(KEYS[3], ARGV[2], time)
if not stream then
  if ARGV[2] ~= 'g' and not runner(KEYS[2], ARGV[2]) then return nil end
  return {0, {}}
end
local after, epoch = tonumber(ARGV[3]), tonumber(ARGV[4])
if epoch > 0 and stream.epoch > epoch then return {stream.epoch} end
if stream.kept_until and after >= stream.last then return {} end
local events, lost = events_after(stream, KEYS[4], after)
return {lost, events}
