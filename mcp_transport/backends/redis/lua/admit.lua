-- Add a session to the index of its caller, in place of others if the limit is reached: atomically, so that the limit
-- holds whatever other nodes do. Return 0 and the evicted sessions, or the number of sessions to evict and the least
-- recently used ones.
-- KEYS index  ARGV session, keep, TTL of the index, limit, most evictions, number of sessions that may be evicted,
--             these sessions, then busy sessions
local time, index = now(), KEYS[1]
redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. (time - ARGV[2]))
-- Busy sessions count as used now, so that the next search starts with others.
for at = 7 + ARGV[6], #ARGV do redis.call('ZADD', index, 'XX', time, ARGV[at]) end
local excess = math.max(0, math.min(redis.call('ZCARD', index) + 1 - ARGV[4], tonumber(ARGV[5])))
local evicted = {}
for at = 7, 6 + ARGV[6] do
  if #evicted < excess and redis.call('ZSCORE', index, ARGV[at]) then table.insert(evicted, ARGV[at]) end
end
if #evicted < excess then return {excess, redis.call('ZRANGE', index, 0, excess + 30)} end
for _, key in ipairs(evicted) do redis.call('ZREM', index, key) end
redis.call('ZADD', index, time, ARGV[1])
redis.call('PEXPIRE', index, ARGV[3])
return {0, evicted}
