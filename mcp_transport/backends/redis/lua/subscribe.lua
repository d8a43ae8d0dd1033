-- Add a URI to the session's subscriptions, or take it out; return whether it fits.
-- KEYS record  ARGV ttl, uri, wanted, limit
if not open_at(KEYS[1], ARGV[1]) then return 1 end
local uris = {}
for _, uri in ipairs(cjson.decode(redis.call('HGET', KEYS[1], 'subscriptions'))) do
  if uri ~= ARGV[2] then table.insert(uris, uri) end
end
if ARGV[3] == '1' then table.insert(uris, ARGV[2]) end
if #uris > tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], 'subscriptions', #uris > 0 and cjson.encode(uris) or '[]')
return 1
