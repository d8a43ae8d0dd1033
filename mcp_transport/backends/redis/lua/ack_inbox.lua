-- Delete the messages that a node has read from its inbox.
-- KEYS inbox, bytes of the inbox  ARGV last id, bytes
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
redis.call('XDEL', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  if redis.call('DECRBY', KEYS[2], ARGV[2]) <= 0 or redis.call('XLEN', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[2])
  end
end
return 1
