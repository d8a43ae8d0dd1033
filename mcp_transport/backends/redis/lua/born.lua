-- Return since when this store has not been emptied, and the time.
-- KEYS born
local time = now()
redis.call('SET', KEYS[1], time, 'NX')
return {tonumber(redis.call('GET', KEYS[1])), time}
