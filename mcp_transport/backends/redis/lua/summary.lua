-- Return a session's record, and how many requests in flight and open streams it has.
-- KEYS record, requests, streams  ARGV ttl
if not check_open(KEYS[1], ARGV[1]) then return nil end
local open = 0
for _, value in ipairs(redis.call('HVALS', KEYS[3])) do
  local is_held = string.find(value, '"holder":"', 1, true) and not string.find(value, '"holder":""', 1, true)
  if is_held and not string.find(value, '"kept_until"', 1, true) then open = open + 1 end
end
return {read_record(KEYS[1]), redis.call('HLEN', KEYS[2]), open}
