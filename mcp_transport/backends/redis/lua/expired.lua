-- Return sessions that nobody has used for longer than they live.
-- KEYS index  ARGV keep, limit
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now() - ARGV[1]), 'LIMIT', 0, ARGV[2])
