-- Return what happened in a session, the newest first.
-- KEYS record, history  ARGV ttl
if not open_at(KEYS[1], ARGV[1]) then return nil end
return redis.call('LRANGE', KEYS[2], 0, -1)
