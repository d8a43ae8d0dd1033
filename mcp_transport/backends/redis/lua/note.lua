-- Add a request that was not admitted to the history.
-- KEYS record, history  ARGV ttl, principal, history, time, node, operation, id, ending (as for `end_request`)
local time = check_open(KEYS[1], ARGV[1], ARGV[2])
if not time then return 0 end
time = math.min(time, tonumber(ARGV[4]))
add_ended(KEYS[1], KEYS[2], tonumber(ARGV[3]), time, ARGV[5], '', 0, ARGV[8], ARGV[6], ARGV[7])
return 1
