-- Functions for all scripts; this file is prepended to each of them, after the constants that `scripts.py` takes from
-- Python (names in capitals). Times are milliseconds of Redis's own clock.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Rate limits count by GCRA (`domain/rate_limit.py`), in milliseconds. The key of a bucket holds the time at which the
-- bucket is empty, and expires then. A fill of many capacities is not ours, or from before a clock was set back.
local function fill_of(bucket, capacity, time)
  local fill = (tonumber(redis.pcall('GET', bucket)) or 0) - time
  if fill > 0 and fill < 20 * capacity then return fill end
  return 0
end

local function save_fill(bucket, fill, time)
  redis.call('SET', bucket, string.format('%.3f', time + fill), 'PX', math.max(1, math.ceil(fill)))
end

-- Return the time if a session with these fields is open to `principal` (nil: to any principal), else nil.
local function time_if_open(owner, last_seen, ends, ttl, principal)
  if not last_seen or (principal and owner ~= principal) then return nil end
  local time = now()
  if time >= math.min(last_seen + ttl, tonumber(ends)) then return nil end
  return time
end

-- The same, for a stored record.
local function check_open(record, ttl, principal)
  local fields = redis.call('HMGET', record, 'principal', 'last_seen', 'ends')
  return time_if_open(fields[1], fields[2], fields[3], ttl, principal)
end

local function time_left(ends, ttl, time)
  return math.max(1, math.min(tonumber(ttl), ends - time))
end

local function expire(keys, left)
  for _, key in ipairs(keys) do redis.call('PEXPIRE', key, left) end
end

-- Record that a session is used, and extend the life of `keys` to that of the session.
local function extend_life(keys, ttl, time)
  redis.call('HSET', keys[1], 'last_seen', time)
  expire(keys, time_left(redis.call('HGET', keys[1], 'ends'), ttl, time))
end

-- Let a key expire together with the session's record.
local function expire_with(record, key)
  redis.call('PEXPIRE', key, math.max(1, redis.call('PTTL', record)))
end

-- Return the subscriptions that the previous release stored in the record; `subscribe.lua` moves them out of it.
local function legacy_subscriptions(record)
  return cjson.decode(redis.call('HGET', record, 'subscriptions') or '[]')
end

-- Return whether a stream belongs to an idempotency key; its only request is then looked up by the stream.
local function is_keyed(stream)
  return string.sub(stream, 1, 1) == KEYED_PREFIX
end

-- Return how many messages and bytes are in an inbox; delete an inbox or a count that cannot be read.
local function repair_inbox(inbox, waiting)
  local messages, bytes = redis.pcall('XLEN', inbox), redis.pcall('GET', waiting)
  if type(messages) ~= 'number' then
    redis.call('DEL', inbox)
    messages = 0
  end
  if messages > 0 and type(bytes) == 'string' and string.match(bytes, '^%d+$') and #bytes < 16 then
    return messages, tonumber(bytes)
  end
  redis.call('DEL', waiting)
  return messages, 0
end

-- Split a request in flight into the fields of `codec.REQUEST_FIELDS`.
local function split_request(value)
  return string.match(value, REQUEST_PATTERN)
end

-- Join these fields again.
local function join_request(...)
  return table.concat({...}, ' ')
end

-- Add the first fields of `codec.HISTORY_FIELDS` to a session's history, and drop the oldest entries beyond `limit`.
local function add_history(record, history, limit, ...)
  if limit == 0 then return end
  local length = redis.call('LPUSH', history, table.concat({...}, ' '))
  if length == 1 then expire_with(record, history) end
  if length > limit then redis.call('LTRIM', history, 0, limit - 1) end
end

-- Record in the history that a stream has a new holder; repeats, of a client that polls, are recorded once.
local function add_attached(record, history, limit, time, node, stream)
  local newest = redis.call('LRANGE', history, 0, 0)[1] or ''
  local what, previous = string.match(newest, '^(%S+) %S+ %S+ (%S+)$')
  if what == ATTACHED and previous == stream then redis.call('LTRIM', history, 1, -1) end
  add_history(record, history, limit, ATTACHED, time, node, stream)
end

-- Store why a request failed, in one of `limit` fields of the record, which the previous release ignores.
local function add_failure(record, limit, time, failure)
  if limit == 0 or redis.pcall('HEXISTS', record, 'ends') ~= 1 then return end
  local count = tonumber(redis.pcall('HINCRBY', record, 'failures', 1))
  if not count then
    count = 1
    redis.call('HSET', record, 'failures', count)
  end
  redis.call('HSET', record, FAILURE_PREFIX .. (count % limit), time .. ' ' .. failure)
end

-- Add a request that ended to the history, with its failure if that follows its ending after a blank; return 1 for an
-- error, else 0.
local function add_ended(record, history, limit, time, node, stream, duration, ending, operation, id)
  local blank = string.find(ending, ' ', 1, true)
  if blank then
    add_failure(record, limit, time, string.sub(ending, blank + 1))
    ending = string.sub(ending, 1, blank - 1)
  end
  add_history(record, history, limit, ENDED, time, node, stream, duration, ending, operation, id)
  return ERROR_ENDINGS[ending] or 0
end

-- Remove a request from those in flight, if it belongs to stream `only` ("": to any), and record its ending in the
-- history; return 1 for an error, else 0.
local function end_request(record, requests, history, limit, id, ending, only, time)
  local value = redis.call('HGET', requests, id)
  if not value then return 0 end
  local node, stream, started, _, _, operation = split_request(value)
  if only ~= '' and stream ~= only then return 0 end
  redis.call('HDEL', requests, id)
  return add_ended(record, history, limit, time, node, stream, time - started, ending, operation, id)
end

-- Return whether a request ended at or after a time, by the last hundred lines of the history.
local function has_just_ended(history, id, after)
  for _, line in ipairs(redis.call('LRANGE', history, 0, 99)) do
    local what, time = string.match(line, '^(%S+) (%d+) ')
    if what == ENDED and tonumber(time) < after then return false end
    if what == ENDED and string.sub(line, -#id - 1) == ' ' .. id then return true end
  end
  return false
end

-- Return the node that runs the calls of a stream, or nil.
local function node_of(requests, stream)
  for _, value in ipairs(redis.call('HVALS', requests)) do
    local node, name = split_request(value)
    if name == stream then return node end
  end
  return nil
end

-- A stream is stored as JSON: `writer`, `holder`, `epoch`, `runs` of numbers in its log, `last` number, `bytes`,
-- `delivered` (number), `heard` (number of the last broadcast), `losses` (how many of its writers died), `times` and, once it
-- has ended, `kept_until` and, for an idempotency key, the `digest` of its request.
local MAX_EVENTS_IN_RUN = 1000000

-- Reject a stream that no release has written: a loop over its runs could block Redis.
local function check_stream(stream)
  for _, name in ipairs({'epoch', 'last', 'bytes', 'delivered'}) do
    if type(stream[name]) ~= 'number' or stream[name] < 0 then error('invalid ' .. name .. ' of a stream') end
  end
  if stream.delivered > stream.last then error('a stream with more delivered than stored events') end
  if type(stream.writer) ~= 'string' or type(stream.holder) ~= 'string' then error('invalid node of a stream') end
  for _, run in ipairs(stream.runs) do
    if run[2] - run[1] > MAX_EVENTS_IN_RUN then error('a stream with too many events') end
  end
end

local function load_stream(streams, name, time)
  local value = redis.call('HGET', streams, name)
  if not value then return nil end
  local stream = cjson.decode(value)
  stream.runs = stream.runs or {}
  check_stream(stream)
  if stream.kept_until and stream.kept_until < time then return nil end
  return stream
end

local function new_stream(writer)
  return {writer = writer, holder = '', epoch = 0, runs = {}, last = 0, bytes = 0, delivered = 0}
end

-- The numbers of the GET stream of a restored session do not start at zero: see `open.lua`.
local function new_get_stream(record)
  local stream = new_stream('')
  stream.last = tonumber(redis.call('HGET', record, 'base') or '0')
  stream.delivered = stream.last
  return stream
end

-- Make a node the holder of a stream; the new epoch is higher than any earlier one, even if the store was emptied.
local function hand_to(record, stream, node)
  local first = tonumber(redis.call('HGET', record, 'first_epoch') or '') or 1
  stream.holder, stream.epoch = node, math.max(stream.epoch + 1, first)
end

local function save_stream(streams, name, stream)
  -- cjson encodes an empty table as an object.
  if #stream.runs == 0 then stream.runs = nil end
  redis.call('HSET', streams, name, cjson.encode(stream))
  stream.runs = stream.runs or {}
end

-- Delete streams that ended long enough ago. This reads all streams, so it runs every `keep` / 4 at most, and stores
-- the time of the next run in the field NEXT_CLEANUP beside the streams.
local function drop_expired_streams(streams, keep, time)
  if time < (tonumber(redis.call('HGET', streams, NEXT_CLEANUP) or '0') or 0) then return end
  local all = redis.call('HGETALL', streams)
  for at = 1, #all, 2 do
    if all[at] ~= NEXT_CLEANUP then
      local is_json, stream = pcall(cjson.decode, all[at + 1])
      local kept_until = is_json and type(stream) == 'table' and tonumber(stream.kept_until)
      if kept_until and kept_until < time then redis.call('HDEL', streams, all[at]) end
    end
  end
  redis.call('HSET', streams, NEXT_CLEANUP, math.floor(time + keep / 4))
end

-- Add one event to a stream's log; skip a number that is stored, and count events before a gap as lost.
local function add_event(stream, log, number, value)
  if number <= stream.last then return end
  local run = stream.runs[#stream.runs]
  if run and number == run[2] + 1 then
    run[2] = number
  elseif number == stream.last + 1 then
    table.insert(stream.runs, {number, number})
  else
    redis.call('DEL', log)
    stream.runs, stream.bytes = {{number, number}}, 0
  end
  redis.call('HSET', log, number, value)
  stream.bytes = stream.bytes + #value - 1
  stream.last = number
end

-- Note in `times`, a flat list of numbers and times, when an event was stored, unless the newest time says so already.
local function mark_time(stream, number, time)
  local times = type(stream.times) == 'table' and stream.times or {}
  if #times > 4 * MAX_MARKS then times = {} end -- not one of ours
  local age = time - (tonumber(times[#times]) or 0)
  if age >= 0 and age < MARK_MILLISECONDS then return end
  table.insert(times, number)
  table.insert(times, time)
  while #times > 2 * MAX_MARKS do table.remove(times, 1) end
  stream.times = times
end

-- Delete the oldest events of a log that exceeds its limits.
local function trim(stream, log, max_events, max_bytes)
  while redis.call('HLEN', log) > max_events or (stream.bytes > max_bytes and stream.runs[1][1] < stream.last) do
    local run = stream.runs[1]
    stream.bytes = stream.bytes - redis.call('HSTRLEN', log, run[1]) + 1
    redis.call('HDEL', log, run[1])
    run[1] = run[1] + 1
    if run[1] > run[2] then table.remove(stream.runs, 1) end
  end
end

-- Count the numbers that are missing between two events; the gap between the numbers of two writers does not count.
local function missing_between(expected, number)
  if math.floor(expected / SPAN) == math.floor(number / SPAN) then return number - expected end
  return number % SPAN - 1
end

-- Return the events after a number, as a flat list, and how many events after it were deleted.
local function events_after(stream, log, after)
  local events, lost, expected = {}, 0, after + 1
  for _, run in ipairs(stream.runs) do
    if run[2] > after then
      local first = math.max(run[1], after + 1)
      lost = lost + missing_between(expected, first)
      for number = first, run[2] do
        local value = redis.call('HGET', log, number)
        if value then
          table.insert(events, tostring(number))
          table.insert(events, value)
        else
          lost = lost + 1
        end
      end
      expected = run[2] + 1
    end
  end
  return events, lost
end

-- Return whether an event in a flat list has a payload (after the first byte, see `codec.encode_event`).
local function has_message(events)
  for at = 2, #events, 2 do
    if #events[at] > 1 then return true end
  end
  return false
end
