-- Add a session to those of its principal, in the place of others where there are too many: all of that or nothing, so
-- that the limit holds whatever other nodes do. Return 0 and the ones that left; or how many have to, and the idlest.
-- KEYS index  ARGV session, keep, life of the index, limit, most that leave at once, number of those that may leave,
--             these, then ones that are busy
local time, index = now(), KEYS[1]
redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. (time - ARGV[2]))
-- Busy ones count as used, so that the next look begins with others.
for at = 7 + ARGV[6], #ARGV do redis.call('ZADD', index, 'XX', time, ARGV[at]) end
local over = math.max(0, math.min(redis.call('ZCARD', index) + 1 - ARGV[4], tonumber(ARGV[5])))
local leaving = {}
for at = 7, 6 + ARGV[6] do
  if #leaving < over and redis.call('ZSCORE', index, ARGV[at]) then table.insert(leaving, ARGV[at]) end
end
if #leaving < over then return {over, redis.call('ZRANGE', index, 0, over + 30)} end
for _, key in ipairs(leaving) do redis.call('ZREM', index, key) end
redis.call('ZADD', index, time, ARGV[1])
redis.call('PEXPIRE', index, ARGV[3])
return {0, leaving}
