-- Return how many sessions were created within the last milliseconds.
-- KEYS index by creation  ARGV milliseconds
return redis.call('ZCOUNT', KEYS[1], '(' .. (now() - ARGV[1]), '+inf')
