-- Return a page of the sessions, last used first, and how many there are; forget those that must have expired.
-- KEYS index  ARGV ttl, offset, limit
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now() - ARGV[1])
return {
  redis.call('ZREVRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1), redis.call('ZCARD', KEYS[1]),
}
