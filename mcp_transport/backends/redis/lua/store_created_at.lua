-- Return the time when this store was created or last emptied, and the time.
-- KEYS time of creation
local time = now()
redis.call('SET', KEYS[1], time, 'NX')
-- An unreadable value counts as 0, so that no session is restored that may have expired.
local since = redis.pcall('GET', KEYS[1])
return {type(since) == 'string' and math.min(tonumber(since) or 0, time) or 0, time}
