-- Find a request in flight, or remember that it was cancelled before it came.
-- KEYS record, flights, cancels  ARGV ttl, principal, id, limit
local time = open_at(KEYS[1], ARGV[1], ARGV[2])
if not time then return nil end
local flight = redis.call('HGET', KEYS[2], ARGV[3])
if flight then return flight end
if redis.call('ZCARD', KEYS[3]) < tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[3], time, ARGV[3])
  live_with(KEYS[1], KEYS[3])
end
return nil
