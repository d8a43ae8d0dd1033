-- Store a new session, or restore a lost one; return nil for a session that exists, was closed or has expired.
-- KEYS record  ARGV ttl, created ("" = now), lifetime, field, value, ...
if redis.call('EXISTS', KEYS[1]) == 1 then return nil end
local time = now()
local created = ARGV[2] == '' and time or tonumber(ARGV[2])
local ends = created + ARGV[3]
if time >= ends then return nil end
redis.call('HSET', KEYS[1], 'created', created, 'last_seen', time, 'ends', ends, unpack(ARGV, 4))
if ARGV[2] ~= '' then
  -- The GET stream continues above every number that it can have had; tens of seconds fit into cjson's 14 digits. So
  -- do the epochs of its streams, which change less often than once a millisecond.
  local age = time - created
  redis.call('HSET', KEYS[1], 'base', (math.floor(age / 10000) + 1) * SPAN, 'first_epoch', age + 1)
end
redis.call('PEXPIRE', KEYS[1], math.min(tonumber(ARGV[1]), ends - time))
return time
