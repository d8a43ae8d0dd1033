-- Record values that sessions have, as of a time, and keep the latest `limit` of them.
-- KEYS values  ARGV time, limit, TTL, then values
for at = 4, #ARGV do redis.call('ZADD', KEYS[1], ARGV[1], ARGV[at]) end
local excess = redis.call('ZCARD', KEYS[1]) - ARGV[2]
if excess > 0 then redis.call('ZREM', KEYS[1], unpack(redis.call('ZRANGE', KEYS[1], 0, excess - 1))) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
