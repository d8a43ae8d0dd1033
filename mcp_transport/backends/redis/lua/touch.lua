-- Slide the session's end, and that of an open stream's log; return whose session it is, and the time.
-- KEYS record, flights, streams, cancels, state, history, subscriptions, log  ARGV ttl, stream
local time = open_at(KEYS[1], ARGV[1])
if not time then return nil end
local log = table.remove(KEYS)
slide(KEYS, ARGV[1], time)
local stream = load_stream(KEYS[3], ARGV[2], time)
if stream and not stream.kept_until then live_with(KEYS[1], log) end
return {redis.call('HMGET', KEYS[1], 'principal', 'about'), time}
