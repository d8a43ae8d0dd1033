-- Store a broadcast for sessions without a holder; return its number.
-- KEYS broadcasts  ARGV keep, limit, method, uri
local number = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'method', ARGV[3], 'uri', ARGV[4])
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.match(number, '^%d+') - ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return number
