-- Add a session to an index by last use; a sweep removes expired ones.
-- KEYS index  ARGV session, TTL of the index
redis.call('ZADD', KEYS[1], now(), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
