-- Return a session's history, newest first.
-- KEYS record, history  ARGV ttl
if not check_open(KEYS[1], ARGV[1]) then return nil end
return redis.call('LRANGE', KEYS[2], 0, -1)
