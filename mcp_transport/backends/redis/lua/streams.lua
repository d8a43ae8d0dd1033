-- Return a session's streams.
-- KEYS record, streams  ARGV ttl
if not check_open(KEYS[1], ARGV[1]) then return nil end
return redis.call('HGETALL', KEYS[2])
