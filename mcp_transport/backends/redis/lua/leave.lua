-- Remove requests from those in flight, if they belong to a stream ("": to any). Return the session's errors (0 if
-- unchanged), and 1 if a node holds the stream, else 0.
-- KEYS record, requests, history, streams  ARGV ttl, stream, history, then id and ending of each request
local time, errors = now(), 0
for at = 4, #ARGV, 2 do
  errors = errors + end_request(KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[3]), ARGV[at], ARGV[at + 1], ARGV[2], time)
end
local stream = load_stream(KEYS[4], ARGV[2], time)
local is_held = stream and stream.holder ~= '' and 1 or 0
if errors == 0 or redis.call('HEXISTS', KEYS[1], 'ends') == 0 then return {0, is_held} end
return {redis.call('HINCRBY', KEYS[1], 'errors', errors), is_held}
