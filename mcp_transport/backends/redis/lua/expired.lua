-- Return sessions that have expired, since they were not used for `keep`.
-- KEYS index  ARGV keep, limit
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now() - ARGV[1]), 'LIMIT', 0, ARGV[2])
