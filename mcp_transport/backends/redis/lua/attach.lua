-- Make `node` the holder of a stream. Return an empty list for an unknown stream, and only the last number for one
-- that has ended without a message after the client's, which keeps its holder.
-- KEYS record, requests, streams, cancels, state, history, subscriptions, log
-- ARGV ttl, principal, stream, after ("" = as delivered), node, history, regions (1: others have stores of their own)
local time = check_open(KEYS[1], ARGV[1], ARGV[2])
if not time then return nil end
local name, running = ARGV[3], node_of(KEYS[2], ARGV[3])
local log = table.remove(KEYS)
redis.call('HSET', KEYS[1], 'node', ARGV[5])
extend_life(KEYS, ARGV[1], time)
local stream = load_stream(KEYS[3], name, time)
if not stream and name ~= GET_STREAM and not running then return {} end
stream = stream or (name == GET_STREAM and new_get_stream(KEYS[1]) or new_stream(running or ''))
local cursor = ARGV[4] == '' and stream.delivered or tonumber(ARGV[4])
-- The number may be another region's: this one never sent an event of this number.
local is_foreign = cursor > stream.last or stream.epoch == 0
if ARGV[7] == '1' and name == GET_STREAM and is_foreign then cursor = stream.delivered end
if cursor > stream.last and not running then return {} end
local events, lost = events_after(stream, log, cursor)
if stream.kept_until and lost == 0 and not has_message(events) then return {stream.last} end
local held_by, held_since = stream.holder, stream.epoch
hand_to(KEYS[1], stream, ARGV[5])
save_stream(KEYS[3], name, stream)
if not stream.kept_until then expire_with(KEYS[1], log) end
add_attached(KEYS[1], KEYS[6], tonumber(ARGV[6]), time, ARGV[5], name)
expire_with(KEYS[1], KEYS[3])
return {
  read_record(KEYS[1]), stream.epoch, held_by, held_since, tostring(cursor), stream.kept_until and 1 or 0, lost,
  stream.kept_until and '' or running or stream.writer, stream.heard or '', events,
}
