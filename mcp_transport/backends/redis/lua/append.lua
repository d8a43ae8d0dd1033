-- Add a writer's events to a stream's log; return holder and epoch, or why nothing was stored.
-- KEYS record, flights, streams, log
-- ARGV ttl, stream_keep, max_events, max_bytes, stream, writer, holder, refills, errors, number of ids, ids,
--      then number and value of each event; a value is one mark ("+" goes on, "." is the end) and the payload
local time = open_at(KEYS[1], ARGV[1])
if not time then return nil end
local name, writer, ids = ARGV[5], ARGV[6], tonumber(ARGV[10])
local stream = load_stream(KEYS[3], name, time)
if not stream then
  drop_old_streams(KEYS[3], tonumber(ARGV[2]), time)
  stream = name == 'g' and new_get_stream(KEYS[1]) or new_stream(writer)
end
if writer ~= '' and stream.writer ~= '' and stream.writer ~= writer then return {'fenced'} end
local first = 11 + ids
if ARGV[8] == '1' and ARGV[first] and tonumber(ARGV[first]) > stream.last + 1 then
  return {'hole', stream.last + 1}
end
if stream.writer == '' then stream.writer = writer end
if ARGV[7] ~= '' and stream.epoch == 0 then stream.holder, stream.epoch = ARGV[7], 1 end
for at = first, #ARGV, 2 do
  add_event(stream, KEYS[4], tonumber(ARGV[at]), ARGV[at + 1])
  if string.sub(ARGV[at + 1], 1, 1) == '.' then stream.kept_until = time + ARGV[2] end
end
trim(stream, KEYS[4], tonumber(ARGV[3]), tonumber(ARGV[4]))
save_stream(KEYS[3], name, stream)
live_with(KEYS[1], KEYS[3])
if stream.kept_until then redis.call('PEXPIRE', KEYS[4], math.max(1, ARGV[2])) else live_with(KEYS[1], KEYS[4]) end
for at = 11, 10 + ids do redis.call('HDEL', KEYS[2], ARGV[at]) end
if tonumber(ARGV[9]) > 0 then redis.call('HINCRBY', KEYS[1], 'errors', ARGV[9]) end
return {'stored', stream.holder, stream.epoch}
