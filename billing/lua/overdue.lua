-- Lists an account's holds that are overdue. A hold whose instant is lost gets the latest that it may have, so that every
-- hold ends; an instant whose hold is gone goes. The release before this one kept the instants in a set, the second key.
-- KEYS account, due. ARGV now_ms, latest due_ms of a call that begins now, how many at most. Returns request, due_ms, ...
local now, most = tonumber(ARGV[1]), tonumber(ARGV[3])
local fields = redis.call('HGETALL', KEYS[1])
local dues, found = {}, {}
for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'd:' then dues[string.sub(fields[i], 3)] = tonumber(fields[i + 1]) end
end
for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'h:' then
        local request = string.sub(fields[i], 3)
        local due = dues[request]
        if not due then
            due = tonumber(redis.call('ZSCORE', KEYS[2], request) or ARGV[2])
            redis.call('HSET', KEYS[1], 'd:' .. request, string.format('%.0f', due))
        end
        dues[request] = nil
        if due <= now and #found < 2 * most then
            found[#found + 1] = request
            found[#found + 1] = string.format('%.0f', due)
        end
    end
end
for request in pairs(dues) do redis.call('HDEL', KEYS[1], 'd:' .. request) end
redis.call('DEL', KEYS[2])
return found
