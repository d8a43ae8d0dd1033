-- Register the end of a node's lease; return nodes whose lease has expired.
-- KEYS nodes  ARGV node, lease
local time = now()
redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time, 'LIMIT', 0, 16)
