-- Make `node` the writer of a stream whose writer is dead, and fence that one. The loss counts in the same step: of
-- two nodes that notice it one counts, and that one also if it dies before it runs anything. A node that takes up
-- what it has written itself is not lost.
-- KEYS record, flights, streams, history  ARGV ttl, stream, dead writer, node, history
local time = open_at(KEYS[1], ARGV[1])
if not time then return nil end
local flights = {}
local all = redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  local node, name, rest = flight_parts(all[at + 1])
  if name == ARGV[2] and node == ARGV[3] then
    redis.call('HSET', KEYS[2], all[at], ARGV[4] .. ' ' .. name .. ' ' .. rest)
    table.insert(flights, all[at])
    table.insert(flights, all[at + 1])
  end
end
local stream = load_stream(KEYS[3], ARGV[2], time) or new_stream(ARGV[3])
if stream.kept_until or (stream.writer ~= ARGV[3] and stream.writer ~= '') or (#flights == 0 and stream.writer == '') then
  return nil
end
stream.writer = ARGV[4]
if ARGV[3] ~= ARGV[4] then stream.losses = (stream.losses or 0) + 1 end
stream.last = (math.floor(stream.last / SPAN) + 1) * SPAN
save_stream(KEYS[3], ARGV[2], stream)
live_with(KEYS[1], KEYS[3])
note(KEYS[1], KEYS[4], tonumber(ARGV[5]), table.concat({'claimed', time, ARGV[4], ARGV[2]}, ' '))
return {read_record(KEYS[1]), flights, stream.last + 1, stream.losses or 0}
