-- Return everything a session's tools have stored.
-- KEYS record, state  ARGV ttl
return open_at(KEYS[1], ARGV[1]) and redis.call('HGETALL', KEYS[2]) or {}
