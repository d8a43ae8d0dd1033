-- Note in an index of sessions when one was used; a sweep forgets them, with all that they are found by.
-- KEYS index  ARGV session, life of the index
redis.call('ZADD', KEYS[1], now(), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
