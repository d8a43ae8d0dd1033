-- Store or, without a value, delete one value; return 1 if the name existed before, else 0.
-- KEYS record, state  ARGV ttl, name, value
if not check_open(KEYS[1], ARGV[1]) then return 0 end
local is_stored = redis.call('HEXISTS', KEYS[2], ARGV[2])
if #ARGV > 2 then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) else redis.call('HDEL', KEYS[2], ARGV[2]) end
expire_with(KEYS[1], KEYS[2])
return is_stored
