-- A process says again, to a new generation, which hold of its is alive; before anyone is admitted under it.
-- KEYS account. ARGV generation, request, amount, key, due_ms, most tokens, tokens/min.
local at = redis.call('HGET', KEYS[1], 'gen')
if at and tonumber(at) > tonumber(ARGV[1]) then return 'stale' end
if not at or tonumber(at) < tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'gen', ARGV[1])
end
redis.call('HSET', KEYS[1], 'd:' .. ARGV[2], ARGV[5])
if redis.call('HSETNX', KEYS[1], 'h:' .. ARGV[2], ARGV[3] .. '|' .. ARGV[4] .. '|total') == 1 then
    redis.call('HINCRBY', KEYS[1], 'asserted', 1)
    redis.call('HINCRBY', KEYS[1], 'held', ARGV[3])
    redis.call('HINCRBY', KEYS[1], 'c:' .. ARGV[4], 1)
    redis.call('HINCRBY', KEYS[1], 'k:' .. ARGV[4] .. ':total', ARGV[3])
    redis.call('HINCRBY', KEYS[1], 'u:' .. ARGV[4], ARGV[6])
    redis.call('HSET', KEYS[1], 'q:' .. ARGV[2], ARGV[6] .. '|' .. ARGV[7])
end
return 'ok'
