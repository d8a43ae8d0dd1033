-- Return when each session was last used; an empty string for one that must have expired.
-- KEYS index  ARGV ttl, then keys
local oldest, times = now() - ARGV[1], {}
for at = 2, #ARGV do
  local last_seen = redis.call('ZSCORE', KEYS[1], ARGV[at])
  times[at - 1] = last_seen and tonumber(last_seen) > oldest and last_seen or ''
end
return times
