-- Change fields of a record.
-- KEYS record  ARGV ttl, field, value, ...
if check_open(KEYS[1], ARGV[1]) then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
return 1
