-- Extend the life of a session and of an open stream's log; return the fields for its caller, and the time.
-- KEYS record, requests, streams, cancels, state, history, subscriptions, log  ARGV ttl, stream
local time = check_open(KEYS[1], ARGV[1])
if not time then return nil end
local log = table.remove(KEYS)
extend_life(KEYS, ARGV[1], time)
local stream = load_stream(KEYS[3], ARGV[2], time)
if stream and not stream.kept_until then expire_with(KEYS[1], log) end
return {redis.call('HMGET', KEYS[1], 'principal', 'about'), time}
