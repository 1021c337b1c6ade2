-- An attempt is over: its slots are free, and tokens that it did not use go back into the slice that they were taken from.
-- KEYS window, leases. ARGV lease id, slots, slice, tokens to give back.
for i = 1, tonumber(ARGV[2]) do redis.call('ZREM', KEYS[2], ARGV[1] .. ':' .. i) end
if tonumber(ARGV[4]) > 0 and redis.call('HEXISTS', KEYS[1], 't' .. ARGV[3]) == 1 then
    redis.call('HINCRBY', KEYS[1], 't' .. ARGV[3], '-' .. ARGV[4])
end
return 'ok'
