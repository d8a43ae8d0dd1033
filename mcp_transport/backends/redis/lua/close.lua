-- End a session. If ids can restore sessions, a `closed` mark prevents this until the session's absolute end.
-- KEYS record, requests, streams, cancels, state, history, subscriptions  ARGV ttl, by an operator, principal, mark
local time = check_open(KEYS[1], ARGV[1], ARGV[2] == '0' and ARGV[3] or nil)
if not time then return nil end
local parts = {read_record(KEYS[1]), redis.call('HVALS', KEYS[2]), redis.call('HGETALL', KEYS[3])}
local ends = redis.call('HGET', KEYS[1], 'ends')
redis.call('DEL', unpack(KEYS))
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], 'closed', time)
  redis.call('PEXPIRE', KEYS[1], math.max(1, ends - time))
end
return parts
