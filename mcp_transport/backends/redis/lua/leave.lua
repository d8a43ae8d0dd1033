-- Take requests off the books, of one stream or ("") of any; with the errors they ended in.
-- KEYS record, flights  ARGV stream, errors, then ids
for at = 3, #ARGV do
  local value = redis.call('HGET', KEYS[2], ARGV[at])
  local _, stream = flight_parts(value or '')
  if value and (ARGV[1] == '' or stream == ARGV[1]) then
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
if tonumber(ARGV[2]) > 0 and redis.call('HEXISTS', KEYS[1], 'ends') == 1 then
  redis.call('HINCRBY', KEYS[1], 'errors', ARGV[2])
end
return 1
