-- Take requests off the books, of one stream or ("") of any; return how many errors the session has, if that is new,
-- and whether a node holds the stream.
-- KEYS record, flights, history, streams  ARGV stream, history, then id and ending of each request
local time, errors = now(), 0
for at = 3, #ARGV, 2 do
  errors = errors + end_flight(KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[2]), ARGV[at], ARGV[at + 1], ARGV[1], time)
end
local stream = load_stream(KEYS[4], ARGV[1], time)
local is_held = stream and stream.holder ~= '' and 1 or 0
if errors == 0 or redis.call('HEXISTS', KEYS[1], 'ends') == 0 then return {0, is_held} end
return {redis.call('HINCRBY', KEYS[1], 'errors', errors), is_held}
