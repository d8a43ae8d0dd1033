-- Return a request in flight, or store that it was cancelled before it arrived. The cancellation of a request that
-- has just ended came too late (2025-11-25, cancellation, "Error handling"), and must not end the next one of its id.
-- KEYS record, requests, cancels, history  ARGV ttl, principal, id, limit, cancel_keep
local time = check_open(KEYS[1], ARGV[1], ARGV[2])
if not time then return nil end
local request = redis.call('HGET', KEYS[2], ARGV[3])
if request then return request end
if has_just_ended(KEYS[4], ARGV[3], time - ARGV[5]) then return nil end
if redis.call('ZCARD', KEYS[3]) < tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[3], time, ARGV[3])
  expire_with(KEYS[1], KEYS[3])
end
return nil
