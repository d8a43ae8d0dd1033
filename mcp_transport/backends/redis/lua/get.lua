-- Return a session's record and its requests in flight.
-- KEYS record, requests  ARGV ttl
if not check_open(KEYS[1], ARGV[1]) then return nil end
return {read_record(KEYS[1]), redis.call('HGETALL', KEYS[2])}
