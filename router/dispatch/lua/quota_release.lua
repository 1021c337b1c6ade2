-- An attempt is over: its slots are free, and requests and tokens that it did not use go back into the slice that they
-- were taken from.
-- KEYS window, leases. ARGV lease id, slots, slice, requests and tokens to give back.
for i = 1, tonumber(ARGV[2]) do redis.call('ZREM', KEYS[2], ARGV[1] .. ':' .. i) end
for place, kind in ipairs({'r', 't'}) do
    local back = ARGV[3 + place]
    if tonumber(back) > 0 and redis.call('HEXISTS', KEYS[1], kind .. ARGV[3]) == 1 then
        redis.call('HINCRBY', KEYS[1], kind .. ARGV[3], '-' .. back)
    end
end
return 'ok'
