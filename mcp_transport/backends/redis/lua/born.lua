-- Return since when this store has not been emptied, and the time.
-- KEYS born
local time = now()
redis.call('SET', KEYS[1], time, 'NX')
-- What cannot be read was there for ever: then no session is brought back that may have expired.
local since = redis.pcall('GET', KEYS[1])
return {type(since) == 'string' and math.min(tonumber(since) or 0, time) or 0, time}
