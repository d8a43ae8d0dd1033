-- Find a request in flight, or remember that it was cancelled before it came; a cancellation of one that ended just now
-- came too late (2025-11-25, cancellation, "Error handling"), and must not end the next one with its id.
-- KEYS record, flights, cancels, history  ARGV ttl, principal, id, limit, cancel_keep
local time = open_at(KEYS[1], ARGV[1], ARGV[2])
if not time then return nil end
local flight = redis.call('HGET', KEYS[2], ARGV[3])
if flight then return flight end
if has_just_ended(KEYS[4], ARGV[3], time - ARGV[5]) then return nil end
if redis.call('ZCARD', KEYS[3]) < tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[3], time, ARGV[3])
  live_with(KEYS[1], KEYS[3])
end
return nil
