-- Make `node` the writer of a stream whose writer is dead, and fence the old writer. `losses` is counted in the same
-- step, so that two nodes count one death once, also if the new writer dies before it runs anything. A node that
-- reclaims its own stream is no loss.
-- KEYS record, requests, streams, history  ARGV ttl, stream, dead writer, node, history
local time = check_open(KEYS[1], ARGV[1])
if not time then return nil end
local requests = {}
local all = redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  local node, name, started, digest, safe, operation, body = split_request(all[at + 1])
  if name == ARGV[2] and node == ARGV[3] then
    redis.call('HSET', KEYS[2], all[at], join_request(ARGV[4], name, started, digest, safe, operation, body))
    table.insert(requests, all[at])
    table.insert(requests, all[at + 1])
  end
end
local stream = load_stream(KEYS[3], ARGV[2], time) or new_stream(ARGV[3])
local is_foreign = stream.writer ~= ARGV[3] and stream.writer ~= ''
if stream.kept_until or is_foreign or (#requests == 0 and stream.writer == '') then return nil end
stream.writer = ARGV[4]
if ARGV[3] ~= ARGV[4] then stream.losses = (stream.losses or 0) + 1 end
stream.last = (math.floor(stream.last / SPAN) + 1) * SPAN
save_stream(KEYS[3], ARGV[2], stream)
expire_with(KEYS[1], KEYS[3])
add_history(KEYS[1], KEYS[4], tonumber(ARGV[5]), CLAIMED, time, ARGV[4], ARGV[2])
return {read_record(KEYS[1]), requests, stream.last + 1, stream.losses or 0}
