-- Return all values that tools have stored in a session.
-- KEYS record, state  ARGV ttl
return check_open(KEYS[1], ARGV[1]) and redis.call('HGETALL', KEYS[2]) or {}
