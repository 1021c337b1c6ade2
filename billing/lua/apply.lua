-- What Postgres committed for one account: ends holds, and adds one version's delta once, in any order.
-- A script does not roll back: all that could be refused is looked at before the first write. Nothing is ever written
-- as '-' .. amount, since Redis does not take '-0' for a number.
-- The end of a hold frees the tokens that were set aside for it, and counts those that were billed against the key's limit.
-- KEYS account, limits. ARGV generation, version or '', delta, holds n, request 1..n, billed tokens 1..n, then per
-- spend: field suffix, amount.
local at = redis.call('HMGET', KEYS[1], 'gen', 'loaded', 'ver')
if at[1] and tonumber(at[1]) > tonumber(ARGV[1]) then return 'stale' end
local is_new = not at[1] or tonumber(at[1]) < tonumber(ARGV[1])
if is_new then at = {ARGV[1], false, false} end

local count = tonumber(ARGV[4])
local held, freed, concurrent, key_held, used_us, gone = 0, {}, {}, {}, {}, {}
for i = 5, 4 + count do
    local field, aside = 'h:' .. ARGV[i], 'q:' .. ARGV[i]
    gone[#gone + 1] = 'd:' .. ARGV[i]
    local found = not is_new and not freed[field] and redis.call('HMGET', KEYS[1], field, aside) or {}
    local hold = found[1]
    if hold then
        local amount, key, period = string.match(hold, '^(%d+)|([^|]*)|([^|]*)$')
        if not amount then return redis.error_reply('ERR the hold ' .. ARGV[i] .. ' cannot be read') end
        local name = 'k:' .. key .. ':' .. period
        held = held + tonumber(amount)
        freed[field] = true
        gone[#gone + 1] = field
        gone[#gone + 1] = 'd:' .. ARGV[i]
        concurrent['c:' .. key] = (concurrent['c:' .. key] or 0) + 1
        key_held[name] = (key_held[name] or 0) + tonumber(amount)
        -- A hold of a process of the release before this one has nothing set aside: it was counted when it was admitted.
        local most, per_minute = string.match(found[2] or '', '^(%d+)|(%d+)$')
        if most then
            gone[#gone + 1] = aside
            concurrent['u:' .. key] = (concurrent['u:' .. key] or 0) + tonumber(most)
            used_us[key] = (used_us[key] or 0) + tonumber(ARGV[count + i]) * 60000000 / tonumber(per_minute)
        end
    end
end

if is_new then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'gen', ARGV[1])
end
local function take(field, number)
    if number > 0 then return redis.call('HINCRBY', KEYS[1], field, string.format('%.0f', -number)) end
    return tonumber(redis.call('HGET', KEYS[1], field) or '0')
end
if held > 0 then take('held', held) end
for field, number in pairs(concurrent) do take(field, number) end
for field, number in pairs(key_held) do
    if take(field, number) == 0 then gone[#gone + 1] = field end
end
for first = 1, #gone, 1000 do
    redis.call('HDEL', KEYS[1], unpack(gone, first, math.min(#gone, first + 999)))
end
for key, micros in pairs(used_us) do
    if micros > 0 then
        local clock = redis.call('TIME')
        local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
        local arrival = math.max(tonumber(redis.call('HGET', KEYS[2], 't:' .. key) or '0'), now) + micros
        -- The clocks live on from the admission (admit.lua); a clock that is new may be the first of its hash.
        if redis.call('HSET', KEYS[2], 't:' .. key, string.format('%.3f', math.min(arrival, now + 300000000))) == 1 then
            redis.call('PEXPIRE', KEYS[2], 600000)
        end
    end
end

if ARGV[2] == '' then return 'ok' end
-- An account that is not loaded yet learns its balance from Postgres; the mark refuses a load from before this version.
if not at[2] then
    redis.call('HSET', KEYS[1], 'a:' .. ARGV[2], 1)
    return 'ok'
end
local version, seen = tonumber(ARGV[2]), tonumber(at[3])
-- The next version of all needs no mark: marks are of versions that came before an earlier one.
local is_next = version == seen + 1
if version <= seen or not is_next and redis.call('HEXISTS', KEYS[1], 'a:' .. ARGV[2]) == 1 then return 'seen' end
redis.call('HINCRBY', KEYS[1], 'bal', ARGV[3])
for i = 5 + 2 * count, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[1], 's:' .. ARGV[i], ARGV[i + 1])
end
if is_next then
    seen = version
else
    redis.call('HSET', KEYS[1], 'a:' .. ARGV[2], 1)
end
while redis.call('HDEL', KEYS[1], 'a:' .. string.format('%.0f', seen + 1)) == 1 do
    seen = seen + 1
end
redis.call('HSET', KEYS[1], 'ver', string.format('%.0f', seen))
return 'ok'
