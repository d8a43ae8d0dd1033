-- Return how many members of an index are from within the last milliseconds: sessions created, used or served.
-- KEYS index  ARGV milliseconds
return redis.call('ZCOUNT', KEYS[1], '(' .. (now() - ARGV[1]), '+inf')
