-- Return a session's history, newest first, and the failures that `end_request` has stored.
-- KEYS record, history  ARGV ttl, history
if not check_open(KEYS[1], ARGV[1]) then return nil end
local fields = {}
for at = 1, tonumber(ARGV[2]) do fields[at] = FAILURE_PREFIX .. (at - 1) end
return {redis.call('LRANGE', KEYS[2], 0, -1), #fields > 0 and redis.call('HMGET', KEYS[1], unpack(fields)) or {}}
