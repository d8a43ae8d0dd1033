-- Return a page of the sessions by last use, and how many there are that cannot have expired.
-- KEYS index  ARGV ttl, offset, limit, last first
local oldest = '(' .. (now() - ARGV[1])
local found
if ARGV[4] == '1' then
  found = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', oldest, 'LIMIT', ARGV[2], ARGV[3])
else
  found = redis.call('ZRANGEBYSCORE', KEYS[1], oldest, '+inf', 'LIMIT', ARGV[2], ARGV[3])
end
return {found, redis.call('ZCOUNT', KEYS[1], oldest, '+inf')}
