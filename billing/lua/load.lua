-- Sets an account to what Postgres said at a version; never adds. Refused where Redis has seen a newer version.
-- A first load makes the account; any other leaves one alone that is not loaded: its holds may be lost.
-- KEYS account. ARGV generation, version, balance, how many holds were asserted before a first load or -1 for another
-- load, then per spend: field suffix, amount.
local at = redis.call('HMGET', KEYS[1], 'gen', 'loaded', 'ver', 'asserted')
if at[1] and tonumber(at[1]) > tonumber(ARGV[1]) then return 'stale' end
if ARGV[4] == '-1' and (not at[2] or tonumber(at[1]) < tonumber(ARGV[1])) then return 'absent' end
local is_new = not at[1] or tonumber(at[1]) < tonumber(ARGV[1])
if tonumber(ARGV[4]) > (is_new and 0 or tonumber(at[4] or '0')) then return 'lost' end
if is_new then
    redis.call('DEL', KEYS[1])
    at = {ARGV[1], false, '0'}
end
local version = tonumber(ARGV[2])
if at[2] and tonumber(at[3]) > version then return 'newer' end
local held, doomed, concurrent, key_held, keys, aside = 0, {}, {}, {}, {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    local kind, rest = string.sub(fields[i], 1, 2), string.sub(fields[i], 3)
    if kind == 'a:' then
        if tonumber(rest) > version then return 'newer' end
        doomed[#doomed + 1] = fields[i]
    elseif kind == 's:' or kind == 'c:' or kind == 'k:' or kind == 'u:' then
        doomed[#doomed + 1] = fields[i]
    elseif kind == 'h:' then
        local amount, key, period = string.match(fields[i + 1], '^(%d+)|([^|]*)|([^|]*)$')
        held, keys[rest] = held + tonumber(amount), key
        concurrent['c:' .. key] = (concurrent['c:' .. key] or 0) + 1
        local name = 'k:' .. key .. ':' .. period
        key_held[name] = (key_held[name] or 0) + tonumber(amount)
    elseif kind == 'q:' then
        aside[rest] = tonumber(string.match(fields[i + 1], '^%d+'))
    end
end
for request, most in pairs(aside) do
    if keys[request] then
        local name = 'u:' .. keys[request]
        key_held[name] = (key_held[name] or 0) + most
    else
        doomed[#doomed + 1] = 'q:' .. request
    end
end
for _, field in ipairs(doomed) do redis.call('HDEL', KEYS[1], field) end
for name, number in pairs(concurrent) do redis.call('HSET', KEYS[1], name, number) end
for name, number in pairs(key_held) do redis.call('HSET', KEYS[1], name, string.format('%.0f', number)) end
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], 's:' .. ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'gen', ARGV[1], 'bal', ARGV[3], 'held', string.format('%.0f', held), 'ver', ARGV[2],
    'loaded', 1)
redis.call('HINCRBY', KEYS[1], 'n', 1)
return 'ok'
