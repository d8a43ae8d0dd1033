-- Renew a node's lease; return 1 if it had lapsed, or if its journal was unreadable and was deleted, else 0.
-- KEYS lease, inbox, bytes of the inbox, journal  ARGV value, lease, keep
local lapsed = redis.call('EXISTS', KEYS[1]) == 0
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
repair_inbox(KEYS[2], KEYS[3])
if type(redis.pcall('HLEN', KEYS[4])) ~= 'number' then
  redis.call('DEL', KEYS[4])
  lapsed = true
end
for at = 2, 4 do redis.call('PEXPIRE', KEYS[at], ARGV[3]) end
return lapsed and 1 or 0
