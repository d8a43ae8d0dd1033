-- Admit a POST and register its requests, unless one of their ids is taken.
-- KEYS record, flights, streams, cancels, state
-- ARGV ttl, principal, node, cancel_keep, stream_keep, then id and flight of each request
local time = open_at(KEYS[1], ARGV[1], ARGV[2])
if not time then return nil end
local running, cancelled = {}, {}
for at = 6, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[2], ARGV[at])
  if known then
    table.insert(running, ARGV[at])
    table.insert(running, known)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. (time - ARGV[4]))
for at = 6, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[4], ARGV[at]) then table.insert(cancelled, ARGV[at]) end
  if #running == 0 then
    redis.call('ZREM', KEYS[4], ARGV[at])
    local node, stream, rest = flight_parts(ARGV[at + 1])
    redis.call('HSET', KEYS[2], ARGV[at], node .. ' ' .. stream .. ' ' .. time .. ' ' .. rest)
  end
end
redis.call('HSET', KEYS[1], 'node', ARGV[3])
if #ARGV > 5 then redis.call('HINCRBY', KEYS[1], 'requests', (#ARGV - 5) / 2) end
slide(KEYS, ARGV[1], time)
if redis.call('EXISTS', KEYS[3]) == 1 then drop_old_streams(KEYS[3], tonumber(ARGV[5]), time) end
return {read_record(KEYS[1]), running, cancelled}
