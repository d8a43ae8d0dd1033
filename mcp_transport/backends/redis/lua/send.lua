-- Put a message into a node's inbox; return 1, 0 if the node's lease has expired, or -1 if the inbox is full.
-- KEYS lease, inbox, bytes of the inbox  ARGV message, max messages, max bytes, keep
local messages, bytes = repair_inbox(KEYS[2], KEYS[3])
if messages >= tonumber(ARGV[2]) or bytes + #ARGV[1] > tonumber(ARGV[3]) then return -1 end
redis.call('INCRBY', KEYS[3], #ARGV[1])
redis.call('XADD', KEYS[2], '*', 'm', ARGV[1])
-- A node whose lease has expired may only be blocked, and return; one that has a lease may die before its next heartbeat.
for at = 2, 3 do
  if redis.call('PTTL', KEYS[at]) < 0 then redis.call('PEXPIRE', KEYS[at], ARGV[4]) end
end
return redis.call('EXISTS', KEYS[1])
