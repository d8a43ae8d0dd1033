-- Note until when a node's lease lasts; return the nodes whose lease is over.
-- KEYS nodes  ARGV node, lease
local time = now()
redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time, 'LIMIT', 0, 16)
