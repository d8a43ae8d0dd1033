-- Return when sessions were last used, each at its place; an empty text for one that must have expired.
-- KEYS index  ARGV ttl, then keys
local oldest, found = now() - ARGV[1], {}
for at = 2, #ARGV do
  local seen = redis.call('ZSCORE', KEYS[1], ARGV[at])
  found[at - 1] = seen and tonumber(seen) > oldest and seen or ''
end
return found
