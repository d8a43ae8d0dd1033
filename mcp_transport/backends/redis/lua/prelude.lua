-- What every script may call; it stands before each of them. Times are milliseconds of Redis's own clock.

-- Each writer of a stream numbers from a multiple of this on.
local SPAN = 1000000000

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Return the time if a session with these members is open, to `principal` or (nil) to anybody; else nil.
local function time_if_open(owner, last_seen, ends, ttl, principal)
  if not last_seen or (principal and owner ~= principal) then return nil end
  local time = now()
  if time >= math.min(last_seen + ttl, tonumber(ends)) then return nil end
  return time
end

local function open_at(record, ttl, principal)
  local known = redis.call('HMGET', record, 'principal', 'last_seen', 'ends')
  return time_if_open(known[1], known[2], known[3], ttl, principal)
end

-- Return the members of a record in the order in which `codec.decode_session` reads them.
local function read_record(record)
  return redis.call(
    'HMGET', record, 'principal', 'initialized', 'log_level', 'node', 'requests', 'errors', 'created', 'last_seen',
    'ends', 'about'
  )
end

-- Where some of them stand in it.
local PRINCIPAL, NODE, REQUESTS, LAST_SEEN, ENDS = 1, 4, 5, 8, 9

local function time_left(ends, ttl, time)
  return math.max(1, math.min(tonumber(ttl), ends - time))
end

local function expire(keys, left)
  for _, key in ipairs(keys) do redis.call('PEXPIRE', key, left) end
end

-- Note that the session is used, and let `keys` live as long as it.
local function slide(keys, ttl, time)
  redis.call('HSET', keys[1], 'last_seen', time)
  expire(keys, time_left(redis.call('HGET', keys[1], 'ends'), ttl, time))
end

-- Give what was stored beside the record the rest of its life.
local function live_with(record, key)
  redis.call('PEXPIRE', key, math.max(1, redis.call('PTTL', record)))
end

-- Return the subscriptions that the previous release keeps in the record; this one moves them with the first change.
local function old_subscriptions(record)
  return cjson.decode(redis.call('HGET', record, 'subscriptions') or '[]')
end

-- A flight is "node stream started digest safe body"; the first two are all that scripts look at.
local function flight_parts(value)
  return string.match(value, '^(%S+) (%S+) (.*)$')
end

-- Tell whether a stream belongs to an idempotency key; its one request is then looked up by it.
local function is_keyed(stream)
  return string.sub(stream, 1, 1) == 'k'
end

-- Return the digest that stands in a flight behind "node stream started".
local function flight_digest(value)
  return string.match(value, '^%S+ %S+ %S+ (%x*) ') or ''
end

-- Return how many messages and bytes wait in an inbox; what is no inbox, or no count, is of no use to anybody and goes.
local function mend_inbox(inbox, waiting)
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

-- Add a line to what happened in a session, of which the last ones are kept.
local function note(record, history, limit, line)
  if limit == 0 then return end
  local length = redis.call('LPUSH', history, line)
  if length == 1 then live_with(record, history) end
  if length > limit then redis.call('LTRIM', history, 0, limit - 1) end
end

-- Note that a stream has got a socket; a client that polls is told of once.
local function note_attached(record, history, limit, time, node, stream)
  local newest = redis.call('LRANGE', history, 0, 0)[1]
  if newest and string.match(newest, '^attached %S+ %S+ (%S+)$') == stream then redis.call('LTRIM', history, 1, -1) end
  note(record, history, limit, table.concat({'attached', time, node, stream}, ' '))
end

-- Take a request off the books, of one stream or ("") of any, and note how it ended; return 1 if that was an error.
local function end_flight(record, flights, history, limit, id, ending, only, time)
  local value = redis.call('HGET', flights, id)
  if not value then return 0 end
  local node, stream, rest = flight_parts(value)
  if only ~= '' and stream ~= only then return 0 end
  redis.call('HDEL', flights, id)
  local started, operation = string.match(rest, '^(%S+) [^ ]* [^ ]* ([^ ]*)')
  local took = time - started
  note(record, history, limit, table.concat({'ended', time, node, stream, took, ending, operation, id}, ' '))
  return (ending == 'error' or ending == 'lost' or ending == 'given_up') and 1 or 0
end

-- Tell whether a request ended after a time, among the last hundred things that happened.
local function has_just_ended(history, id, after)
  for _, line in ipairs(redis.call('LRANGE', history, 0, 99)) do
    local ended = string.match(line, '^ended (%d+) ')
    if ended and tonumber(ended) < after then return false end
    if ended and string.sub(line, -#id - 1) == ' ' .. id then return true end
  end
  return false
end

-- Return the node that runs calls of `stream`, or nil.
local function runner(flights, stream)
  for _, value in ipairs(redis.call('HVALS', flights)) do
    local node, name = flight_parts(value)
    if name == stream then return node end
  end
  return nil
end

-- A stream: writer, holder, epoch, runs of numbers in its log, last number, bytes, delivered, heard, how many nodes
-- were lost that wrote it and, once it is over, until when it is kept; that of an idempotency key then has the digest
-- of its request.
local MOST_IN_RUN = 1000000

-- Stop at what no release has written: a loop over it might hold up everybody.
local function check_stream(stream)
  for _, name in ipairs({'epoch', 'last', 'bytes', 'delivered'}) do
    if type(stream[name]) ~= 'number' or stream[name] < 0 then error('a stream without ' .. name) end
  end
  if stream.delivered > stream.last then error('a stream that went on without events') end
  if type(stream.writer) ~= 'string' or type(stream.holder) ~= 'string' then error('a stream of nobody') end
  for _, run in ipairs(stream.runs) do
    if run[2] - run[1] > MOST_IN_RUN then error('a stream of too many events') end
  end
end

local function load_stream(streams, name, time)
  local known = redis.call('HGET', streams, name)
  if not known then return nil end
  local stream = cjson.decode(known)
  stream.runs = stream.runs or {}
  check_stream(stream)
  if stream.kept_until and stream.kept_until < time then return nil end
  return stream
end

local function new_stream(writer)
  return {writer = writer, holder = '', epoch = 0, runs = {}, last = 0, bytes = 0, delivered = 0}
end

-- The GET stream of a session that was rebuilt does not begin at zero.
local function new_get_stream(record)
  local stream = new_stream('')
  stream.last = tonumber(redis.call('HGET', record, 'base') or '0')
  stream.delivered = stream.last
  return stream
end

-- Give a stream to a node; the epoch is higher than each that it had before, also in a store that was emptied since.
local function hand_to(record, stream, node)
  local first = tonumber(redis.call('HGET', record, 'first_epoch') or '') or 1
  stream.holder, stream.epoch = node, math.max(stream.epoch + 1, first)
end

local function save_stream(streams, name, stream)
  -- An empty table would be written as an object.
  if #stream.runs == 0 then stream.runs = nil end
  redis.call('HSET', streams, name, cjson.encode(stream))
  stream.runs = stream.runs or {}
end

-- Forget streams that are kept no longer; looked at now and then only, since it reads them all.
local NEXT_LOOK = '!'

local function drop_old_streams(streams, keep, time)
  if time < (tonumber(redis.call('HGET', streams, NEXT_LOOK) or '0') or 0) then return end
  local all = redis.call('HGETALL', streams)
  for at = 1, #all, 2 do
    if all[at] ~= NEXT_LOOK then
      local is_json, stream = pcall(cjson.decode, all[at + 1])
      local kept_until = is_json and type(stream) == 'table' and tonumber(stream.kept_until)
      if kept_until and kept_until < time then redis.call('HDEL', streams, all[at]) end
    end
  end
  redis.call('HSET', streams, NEXT_LOOK, math.floor(time + keep / 4))
end

-- Add one event to a stream's log; a number that is known is skipped, what lies before a hole is lost.
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

-- Drop the oldest events of a log that is over its bounds.
local function trim(stream, log, max_events, max_bytes)
  while redis.call('HLEN', log) > max_events or (stream.bytes > max_bytes and stream.runs[1][1] < stream.last) do
    local run = stream.runs[1]
    stream.bytes = stream.bytes - redis.call('HSTRLEN', log, run[1]) + 1
    redis.call('HDEL', log, run[1])
    run[1] = run[1] + 1
    if run[1] > run[2] then table.remove(stream.runs, 1) end
  end
end

-- Between two writers nothing is missing.
local function missing_between(expected, number)
  if math.floor(expected / SPAN) == math.floor(number / SPAN) then return number - expected end
  return number % SPAN - 1
end

-- Return the events after a number, flat, and how many of them are no longer held.
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

-- Tell whether one of them has a payload, which follows the mark.
local function has_message(events)
  for at = 2, #events, 2 do
    if #events[at] > 1 then return true end
  end
  return false
end
