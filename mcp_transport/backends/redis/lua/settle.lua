-- Add the costs of requests that nodes have admitted to the buckets of rate limits; return their fills.
-- KEYS the buckets
-- ARGV cost and capacity of each

local time, fills = now(), {}
for at, bucket in ipairs(KEYS) do
  local cost = tonumber(ARGV[2 * at - 1])
  local fill = fill_of(bucket, tonumber(ARGV[2 * at]), time) + cost
  if cost > 0 then save_fill(bucket, fill, time) end
  table.insert(fills, string.format('%.3f', fill))
end
return fills
