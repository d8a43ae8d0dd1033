-- Number a message and add it to the GET stream; a broadcast only once, and only if the session wants it.
-- KEYS record, streams, log  ARGV ttl, max_events, max_bytes, value, broadcast, uri
local time = open_at(KEYS[1], ARGV[1])
if not time then return nil end
local stream = load_stream(KEYS[2], 'g', time) or new_get_stream(KEYS[1])
if ARGV[5] ~= '' then
  if ARGV[5] <= (stream.heard or '') then return nil end
  stream.heard = ARGV[5]
end
local wanted = ARGV[6] == ''
if not wanted then
  for _, uri in ipairs(cjson.decode(redis.call('HGET', KEYS[1], 'subscriptions'))) do
    wanted = wanted or uri == ARGV[6]
  end
end
if wanted then
  add_event(stream, KEYS[3], stream.last + 1, ARGV[4])
  trim(stream, KEYS[3], tonumber(ARGV[2]), tonumber(ARGV[3]))
  live_with(KEYS[1], KEYS[3])
end
save_stream(KEYS[2], 'g', stream)
live_with(KEYS[1], KEYS[2])
return wanted and {stream.holder, stream.epoch, stream.last} or nil
