-- Return how many sessions began within the last milliseconds.
-- KEYS index by beginning  ARGV milliseconds
return redis.call('ZCOUNT', KEYS[1], '(' .. (now() - ARGV[1]), '+inf')
