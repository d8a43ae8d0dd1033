-- Store or, without a value, drop one value; return whether it was there before.
-- KEYS record, state  ARGV ttl, name, value
if not open_at(KEYS[1], ARGV[1]) then return 0 end
local known = redis.call('HEXISTS', KEYS[2], ARGV[2])
if #ARGV > 2 then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) else redis.call('HDEL', KEYS[2], ARGV[2]) end
live_with(KEYS[1], KEYS[2])
return known
