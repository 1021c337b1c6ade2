-- Takes one attempt's share of what a provider grants us at an endpoint, all processes together: requests and tokens in
-- any window, attempts at once. All is checked, then all is written (a script does not roll back).
-- The window is cut into 60 slices; a slice counts until all of it is out of the window, so no window ever has more than
-- is granted, wherever it begins. Leases end by themselves: each has its end as its score.
-- KEYS window, leases. ARGV requests, tokens, slots wanted, granted requests, tokens, slots (each '' for no limit),
-- lease id, lease length, window length (both in microseconds). The wall clock is Redis's own.
local requests, tokens, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most_requests, most_tokens, most_slots = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lease_us, window_us = tonumber(ARGV[8]), tonumber(ARGV[9])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local slice_us = window_us / 60
local slice = math.floor(now / slice_us)

local function text(number) return string.format('%.0f', number) end

if most_slots then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
    slots = math.min(slots, most_slots - redis.call('ZCARD', KEYS[2]))
    if slots < 1 then
        local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
        return {'slots', text(first[2] and tonumber(first[2]) - now or lease_us), text(now)}
    end
end

local used_requests, used_tokens, slices, of, gone = 0, 0, {}, {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    local kind, number = string.sub(fields[i], 1, 1), tonumber(string.sub(fields[i], 2))
    if number < slice - 60 then
        gone[#gone + 1] = fields[i]
    else
        local amount = tonumber(fields[i + 1])
        if not of[number] then
            of[number] = {r = 0, t = 0}
            slices[#slices + 1] = number
        end
        of[number][kind] = amount
        if kind == 'r' then used_requests = used_requests + amount else used_tokens = used_tokens + amount end
    end
end
table.sort(slices)

-- When so much of the oldest slices is out of the window that the rest leaves room.
local function wait(kind, over)
    for _, number in ipairs(slices) do
        if over <= 0 then break end
        over = over - of[number][kind]
        if over <= 0 then return (number + 61) * slice_us - now end
    end
    return 0
end
local late = 0
if most_requests then late = math.max(late, wait('r', used_requests + requests - most_requests)) end
if most_tokens then late = math.max(late, wait('t', used_tokens + tokens - most_tokens)) end
if late > 0 then return {'window', text(late), text(now)} end

if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
if most_requests or most_tokens then
    redis.call('HINCRBY', KEYS[1], 'r' .. text(slice), text(requests))
    redis.call('HINCRBY', KEYS[1], 't' .. text(slice), text(tokens))
    redis.call('PEXPIRE', KEYS[1], text(math.ceil(window_us * 2 / 1000)))
end
if most_slots then
    for i = 1, slots do redis.call('ZADD', KEYS[2], text(now + lease_us), ARGV[7] .. ':' .. i) end
    redis.call('PEXPIRE', KEYS[2], text(math.max(redis.call('PTTL', KEYS[2]), math.ceil(lease_us / 1000))))
end
return {'ok', text(slots), text(slice), text(now)}
