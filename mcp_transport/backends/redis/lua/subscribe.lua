-- Add a URI to the session's subscriptions, or remove it; return 1, or 0 if it exceeds a limit.
-- KEYS record, subscriptions  ARGV ttl, uri, subscribed (0 or 1), max URIs, max bytes of all URIs
if not check_open(KEYS[1], ARGV[1]) then return 1 end
local old = legacy_subscriptions(KEYS[1])
for _, uri in ipairs(old) do redis.call('SADD', KEYS[2], uri) end
if #old > 0 then
  redis.call('HSET', KEYS[1], 'subscriptions', '[]')
  expire_with(KEYS[1], KEYS[2])
end
if ARGV[3] == '0' then
  redis.call('SREM', KEYS[2], ARGV[2])
  return 1
end
local uris, bytes = redis.call('SMEMBERS', KEYS[2]), #ARGV[2]
for _, uri in ipairs(uris) do
  if uri == ARGV[2] then return 1 end
  bytes = bytes + #uri
end
if #uris >= tonumber(ARGV[4]) or bytes > tonumber(ARGV[5]) then return 0 end
redis.call('SADD', KEYS[2], ARGV[2])
if #uris == 0 then expire_with(KEYS[1], KEYS[2]) end
return 1
