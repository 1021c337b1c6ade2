-- Admits one call: limits, concurrency, caps and credit are all checked, then all written, the hold with its sums in
-- one command (a script does not roll back). Money travels as text; below 9e15 a double holds it exactly.
-- Caps: what a key spent in a period is 's:<key>:<period>', what its account did 's::<period>' (the total is there where
-- they are known at all). Calls in flight count against every cap, in whichever period they began: 'k:<key>:total' is
-- what a key's hold, 'held' what the account's do.
-- What no wait can cure is looked at first: a client that waits for a limit must not learn afterwards that it cannot pay.
-- Tokens: while a call runs, its bound is set aside ('u:<key>' is the sum, 'q:<request>' one call's); what was billed
-- counts from the end of the call on (apply.lua). A call passes where its least tokens fit beside all that is set aside.
-- 'n' counts admissions and loads: where it is below what the caller has seen, the account went back in time.
-- KEYS account, limits. ARGV generation, request, amount, key, requests/min, tokens/min, concurrency, most tokens,
-- due_ms, least tokens, least 'n', then per cap: <key or nothing>:<period>, amount; the wall clock is Redis's own.
local generation, request, amount, key = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local need = tonumber(amount)
local names = {'gen', 'loaded', 'bal', 'held', 'h:' .. request, 'c:' .. key, 's::total', 'k:' .. key .. ':total',
    'u:' .. key, 'n'}
for i = 12, #ARGV, 2 do names[#names + 1] = 's:' .. ARGV[i] end
local f = redis.call('HMGET', KEYS[1], unpack(names))
if not f[1] or tonumber(f[1]) < tonumber(generation) then return {'unknown'} end
if tonumber(f[1]) > tonumber(generation) then return {'stale'} end
if not f[2] then return {'unknown'} end
local writes = tonumber(f[10] or '0')
if writes < tonumber(ARGV[11]) then return {'went_back'} end
local balance, held = tonumber(f[3]), tonumber(f[4] or '0')

local rpm, tpm, concurrency, least = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[10])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local minute = 60000000
local r = redis.call('HMGET', KEYS[2], 'r:' .. key, 't:' .. key)
-- GCRA: the theoretical arrival time may run at most one minute ahead, so a minute's worth may come at once. That of the
-- tokens runs further ahead where a call was billed more than was known of it beforehand; never by more than apply.lua lets.
local arrival_r = math.max(tonumber(r[1] or '0'), now)
local arrival_t = math.max(tonumber(r[2] or '0'), now)
if arrival_r > now + minute then arrival_r = now + minute end
if arrival_t > now + 5 * minute then arrival_t = now + 5 * minute end
local in_flight = tonumber(f[6] or '0')
-- Without a call in flight nothing is set aside, whatever has been lost.
local reserved = in_flight > 0 and math.max(0, tonumber(f[9] or '0')) or 0
local key_held = tonumber(f[8] or '0')

local function state(verdict, wait, cap)
    return {verdict, f[3], f[4] or '0', string.format('%.0f', arrival_r - now), string.format('%.0f', arrival_t - now),
        string.format('%.0f', wait or 0), cap and f[10 + cap] or '0', string.format('%.0f', reserved), writes, cap or 0}
end
-- The first cap that has no room for the call beside what is spent, and where told so beside what calls in flight hold.
local function cap_reached(beside_held)
    for cap = 1, (#ARGV - 11) / 2 do
        local field, left = ARGV[10 + 2 * cap], tonumber(ARGV[11 + 2 * cap]) - tonumber(f[10 + cap] or '0')
        if beside_held then left = left - (string.sub(field, 1, 1) == ':' and held or key_held) end
        if need > left then return cap end
    end
end

for i = 12, #ARGV, 2 do
    if string.sub(ARGV[i], 1, 1) == ':' and not f[7] then return {'no_spends'} end
end

if f[5] then return state('ok') end
if least > tpm then return state('tokens_never') end
local cap = cap_reached(false)
if cap then return state('cap', 0, cap) end
if need > balance then return state('credit') end
if in_flight >= concurrency then return state('concurrency') end
local next_r = arrival_r + minute / rpm
if next_r > now + minute + 0.5 then return state('requests', next_r - now - minute) end
local late = arrival_t + least * minute / tpm - now - minute
if late > 0.5 then return state('tokens', late) end
if late + reserved * minute / tpm > 0.5 then return state('tokens_held') end
cap = cap_reached(true)
if cap then return state('cap_held', 0, cap) end
if need > balance - held then return state('held') end

redis.call('HSET', KEYS[2], 'r:' .. key, string.format('%.3f', next_r))
redis.call('PEXPIRE', KEYS[2], 600000)
local function text(number) return string.format('%.0f', number) end
writes = writes + 1
redis.call('HSET', KEYS[1], 'n', text(writes), 'held', text(held + need), 'c:' .. key, text(in_flight + 1), 'k:' .. key .. ':total',
    text(key_held + need), 'u:' .. key, text(reserved + tonumber(ARGV[8])), 'q:' .. request, ARGV[8] .. '|' .. ARGV[6],
    'd:' .. request, ARGV[9], 'h:' .. request, amount .. '|' .. key .. '|total')
arrival_r = next_r
return state('ok')
