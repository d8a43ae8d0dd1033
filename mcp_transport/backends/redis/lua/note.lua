-- Add a request that was not admitted to the history.
-- KEYS record, history  ARGV ttl, principal, history, node, operation, id, ending (as for `end_request`)
local time = check_open(KEYS[1], ARGV[1], ARGV[2])
if not time then return 0 end
add_ended(KEYS[1], KEYS[2], tonumber(ARGV[3]), time, ARGV[4], '', 0, ARGV[7], ARGV[5], ARGV[6])
return 1
