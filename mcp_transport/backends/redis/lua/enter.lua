-- Admit a POST and register its requests, unless one of their ids is in flight, or their idempotency key has a
-- request in flight or a stored answer. Every call in a session runs this script, so it reads nothing twice.
-- KEYS record, requests, streams, cancels, state, history, subscriptions, then buckets of rate limits
-- ARGV ttl, principal, node, cancel_keep, stream_keep, stream of an idempotency key or "", then id and value of each
--      request, then cost and capacity for each bucket
local SESSION_KEYS = 7
local last = #ARGV - 2 * (#KEYS - SESSION_KEYS)

-- Return id and value of the request in flight that has a stream, or an empty list.
local function request_of(requests, stream)
  local all = redis.call('HGETALL', requests)
  for at = 1, #all, 2 do
    local _, name = split_request(all[at + 1])
    if name == stream then return {all[at], all[at + 1]} end
  end
  return {}
end

-- Charge all buckets, or none; return the position of the one that refuses for the longest time, and its fill.
local function charge_buckets(time)
  local fills, position, longest = {}, nil, ROUNDING
  for at = 1, #KEYS - SESSION_KEYS do
    local cost, capacity = ARGV[last + 2 * at - 1], tonumber(ARGV[last + 2 * at])
    fills[at] = fill_of(KEYS[SESSION_KEYS + at], capacity, time)
    local excess = fills[at] + cost - capacity
    if excess > longest then position, longest = at, excess end
  end
  if position then return {position, string.format('%.3f', fills[position])} end
  for at, fill in ipairs(fills) do
    save_fill(KEYS[SESSION_KEYS + at], fill + ARGV[last + 2 * at - 1], time)
  end
  return nil
end

local record = read_record(KEYS[1])
local time = time_if_open(record[PRINCIPAL], record[LAST_SEEN], record[ENDS], ARGV[1], ARGV[2])
if not time then return nil end
-- Before any write: an error in an unreadable record must not leave changes.
local count, left = record[REQUESTS] + (last - 6) / 2, time_left(record[ENDS], ARGV[1], time)
local refused = #KEYS > SESSION_KEYS and charge_buckets(time)
if refused then return refused end
local running, cancelled, digest = {}, {}, {}
if ARGV[6] ~= '' then
  local stream = load_stream(KEYS[3], ARGV[6], time)
  if stream and stream.kept_until then digest = {stream.digest or ''} else running = request_of(KEYS[2], ARGV[6]) end
end
local is_new = #running == 0 and #digest == 0
if redis.call('EXISTS', KEYS[3]) == 1 then drop_expired_streams(KEYS[3], tonumber(ARGV[5]), time) end
for at = 7, is_new and last or 0, 2 do
  local value = redis.call('HGET', KEYS[2], ARGV[at])
  if value then
    table.insert(running, ARGV[at])
    table.insert(running, value)
  end
end
local may_be_cancelled = redis.call('EXISTS', KEYS[4]) == 1
if may_be_cancelled then
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. (time - ARGV[4]))
end
for at = 7, last, 2 do
  if may_be_cancelled and redis.call('ZSCORE', KEYS[4], ARGV[at]) then table.insert(cancelled, ARGV[at]) end
  if #running == 0 and #digest == 0 then
    if may_be_cancelled then redis.call('ZREM', KEYS[4], ARGV[at]) end
    local node, stream, _, digest, safe, operation, body = split_request(ARGV[at + 1])
    redis.call('HSET', KEYS[2], ARGV[at], join_request(node, stream, time, digest, safe, operation, body))
  end
end
record[NODE], record[LAST_SEEN], record[REQUESTS] = ARGV[3], time, count
redis.call('HSET', KEYS[1], 'node', ARGV[3], 'last_seen', time, 'requests', count)
-- Extending the life by less than a thousandth is not worth a command for each key.
if left - redis.call('PTTL', KEYS[1]) > left / 1000 then
  for at = 1, SESSION_KEYS do redis.call('PEXPIRE', KEYS[at], left) end
elseif last > 6 then
  redis.call('PEXPIRE', KEYS[2], left) -- the key may be new
end
return {record, running, cancelled, digest}
