-- Return a page of the sessions by last use, and the number of sessions that cannot have expired.
-- KEYS index  ARGV ttl, offset, limit, last first
local oldest = '(' .. (now() - ARGV[1])
local page
if ARGV[4] == '1' then
  page = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', oldest, 'LIMIT', ARGV[2], ARGV[3])
else
  page = redis.call('ZRANGEBYSCORE', KEYS[1], oldest, '+inf', 'LIMIT', ARGV[2], ARGV[3])
end
return {page, redis.call('ZCOUNT', KEYS[1], oldest, '+inf')}
