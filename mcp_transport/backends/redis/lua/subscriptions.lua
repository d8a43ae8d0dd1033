-- Return the URIs of a session's subscriptions.
-- KEYS record, subscriptions  ARGV ttl
if not check_open(KEYS[1], ARGV[1]) then return {} end
local uris = legacy_subscriptions(KEYS[1])
for _, uri in ipairs(redis.call('SMEMBERS', KEYS[2])) do table.insert(uris, uri) end
return uris
