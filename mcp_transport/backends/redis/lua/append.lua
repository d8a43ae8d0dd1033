-- Add a writer's events to a stream's log; return 'stored' with the holder, its epoch and the session's errors (0 if
-- unchanged), or the reason why nothing was stored.
-- KEYS record, requests, streams, history, log
-- ARGV ttl, stream_keep, max_events, max_bytes, stream, writer, holder, refills, history, number of ending requests,
--      id and ending of each, then number and value of each event (see `codec.encode_event`)
local time = check_open(KEYS[1], ARGV[1])
if not time then return nil end
local name, writer, log = ARGV[5], ARGV[6], KEYS[5]
local stream = load_stream(KEYS[3], name, time)
if not stream then
  drop_expired_streams(KEYS[3], tonumber(ARGV[2]), time)
  stream = name == GET_STREAM and new_get_stream(KEYS[1]) or new_stream(writer)
end
if writer ~= '' and stream.writer ~= '' and stream.writer ~= writer then return {'fenced'} end
local first = 11 + 2 * ARGV[10]
if ARGV[8] == '1' and ARGV[first] and tonumber(ARGV[first]) > stream.last + 1 then
  return {'hole', stream.last + 1}
end
if stream.writer == '' then stream.writer = writer end
if ARGV[7] ~= '' and stream.epoch == 0 then hand_to(KEYS[1], stream, ARGV[7]) end
local before = stream.last
for at = first, #ARGV, 2 do
  add_event(stream, log, tonumber(ARGV[at]), ARGV[at + 1])
  if string.sub(ARGV[at + 1], 1, 1) == TERMINAL then stream.kept_until = time + ARGV[2] end
end
if stream.last > before then mark_time(stream, before + 1, time) end
trim(stream, log, tonumber(ARGV[3]), tonumber(ARGV[4]))
if first > 11 and is_keyed(name) then
  local request = redis.call('HGET', KEYS[2], ARGV[11])
  if request then stream.digest = select(4, split_request(request)) end
end
save_stream(KEYS[3], name, stream)
expire_with(KEYS[1], KEYS[3])
if stream.kept_until then redis.call('PEXPIRE', log, math.max(1, ARGV[2])) else expire_with(KEYS[1], log) end
local errors = 0
for at = 11, first - 1, 2 do
  errors = errors + end_request(KEYS[1], KEYS[2], KEYS[4], tonumber(ARGV[9]), ARGV[at], ARGV[at + 1], name, time)
end
if errors > 0 then errors = redis.call('HINCRBY', KEYS[1], 'errors', errors) end
return {'stored', stream.holder, stream.epoch, errors}
