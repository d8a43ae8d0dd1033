-- Put a message into a node's inbox; return 1, 0 for a node that seems gone, -1 for one that has too much waiting.
-- KEYS lease, inbox, bytes waiting  ARGV message, most messages, most bytes, keep
local messages, bytes = mend_inbox(KEYS[2], KEYS[3])
if messages >= tonumber(ARGV[2]) or bytes + #ARGV[1] > tonumber(ARGV[3]) then return -1 end
redis.call('INCRBY', KEYS[3], #ARGV[1])
redis.call('XADD', KEYS[2], '*', 'm', ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
-- It may only stand still, and come back.
for at = 2, 3 do
  if redis.call('PTTL', KEYS[at]) < 0 then redis.call('PEXPIRE', KEYS[at], ARGV[4]) end
end
return 0
