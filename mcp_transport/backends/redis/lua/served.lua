-- Record which sessions a node has served, and remove those that it has not served for `keep`.
-- KEYS sessions of the node  ARGV keep, then keys
local time = now()
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], time, ARGV[at]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (time - ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
