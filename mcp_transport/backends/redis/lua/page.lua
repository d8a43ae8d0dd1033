-- Return a page of the sessions, last used first, and how many there are that cannot have expired.
-- KEYS index  ARGV ttl, offset, limit
local oldest = '(' .. (now() - ARGV[1])
return {
  redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', oldest, 'LIMIT', ARGV[2], ARGV[3]),
  redis.call('ZCOUNT', KEYS[1], oldest, '+inf'),
}
