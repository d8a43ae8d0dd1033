-- Number a message and add it to the GET stream; a broadcast only once, and only if the session has subscribed to it.
-- KEYS record, streams, subscriptions, log  ARGV ttl, max_events, max_bytes, value, broadcast, uri
local time = check_open(KEYS[1], ARGV[1])
if not time then return nil end
local stream = load_stream(KEYS[2], GET_STREAM, time) or new_get_stream(KEYS[1])
if ARGV[5] ~= '' then
  if ARGV[5] <= (stream.heard or '') then return nil end
  stream.heard = ARGV[5]
end
local is_subscribed = ARGV[6] == '' or redis.call('SMISMEMBER', KEYS[3], ARGV[6])[1] == 1
if not is_subscribed then
  for _, uri in ipairs(legacy_subscriptions(KEYS[1])) do is_subscribed = is_subscribed or uri == ARGV[6] end
end
if is_subscribed then
  add_event(stream, KEYS[4], stream.last + 1, ARGV[4])
  mark_time(stream, stream.last, time)
  trim(stream, KEYS[4], tonumber(ARGV[2]), tonumber(ARGV[3]))
  expire_with(KEYS[1], KEYS[4])
end
save_stream(KEYS[2], GET_STREAM, stream)
expire_with(KEYS[1], KEYS[2])
return is_subscribed and {stream.holder, stream.epoch, stream.last} or nil
