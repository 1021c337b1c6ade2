-- What Postgres committed for one account: ends holds, and adds one version's delta once, in any order.
-- KEYS account, due. ARGV generation, version or '', delta, holds n, request 1..n, then per spend: field suffix, amount.
local at = redis.call('HMGET', KEYS[1], 'gen', 'loaded', 'ver')
if at[1] and tonumber(at[1]) > tonumber(ARGV[1]) then return 'stale' end
if not at[1] or tonumber(at[1]) < tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'gen', ARGV[1])
    at = {ARGV[1], false, false}
end

local count = tonumber(ARGV[4])
for i = 5, 4 + count do
    local hold = redis.call('HGET', KEYS[1], 'h:' .. ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    if hold then
        local amount, key, period = string.match(hold, '^(%d+)|([^|]*)|([^|]*)$')
        redis.call('HINCRBY', KEYS[1], 'held', '-' .. amount)
        redis.call('HINCRBY', KEYS[1], 'c:' .. key, -1)
        if redis.call('HINCRBY', KEYS[1], 'k:' .. key .. ':' .. period, '-' .. amount) == 0 then
            redis.call('HDEL', KEYS[1], 'k:' .. key .. ':' .. period)
        end
        redis.call('HDEL', KEYS[1], 'h:' .. ARGV[i])
    end
end

if ARGV[2] == '' then return 'ok' end
-- An account that is not loaded yet learns its balance from Postgres; the mark refuses a load from before this version.
if not at[2] then
    redis.call('HSET', KEYS[1], 'a:' .. ARGV[2], 1)
    return 'ok'
end
local version, seen = tonumber(ARGV[2]), tonumber(at[3])
if version <= seen or redis.call('HEXISTS', KEYS[1], 'a:' .. ARGV[2]) == 1 then return 'seen' end
redis.call('HINCRBY', KEYS[1], 'bal', ARGV[3])
for i = 5 + count, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[1], 's:' .. ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'a:' .. ARGV[2], 1)
while redis.call('HDEL', KEYS[1], 'a:' .. string.format('%.0f', seen + 1)) == 1 do
    seen = seen + 1
end
redis.call('HSET', KEYS[1], 'ver', string.format('%.0f', seen))
return 'ok'
