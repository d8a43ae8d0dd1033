-- Note in an index of sessions when one was used; with a limit, forget those long gone, return the idlest ones over it.
-- Without a limit a sweep forgets them, with all that they are found by.
-- KEYS index  ARGV session, keep, limit (0 = none), life of the index
local time = now()
redis.call('ZADD', KEYS[1], time, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if tonumber(ARGV[3]) == 0 then return {0} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (time - ARGV[2]))
local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
if over <= 0 then return {0} end
return {over, redis.call('ZRANGE', KEYS[1], 0, over + 31)}
