-- Return a page of the sessions by last use, and how many there are that cannot have expired.
-- KEYS index  ARGV ttl, offset, limit, last first
local oldest = '(' .. (now() - ARGV[1])
local first, last = oldest, '+inf'
local command = 'ZRANGEBYSCORE'
if ARGV[4] == '1' then first, last, command = last, first, 'ZREVRANGEBYSCORE' end
return {
  redis.call(command, KEYS[1], first, last, 'LIMIT', ARGV[2], ARGV[3]),
  redis.call('ZCOUNT', KEYS[1], oldest, '+inf'),
}
