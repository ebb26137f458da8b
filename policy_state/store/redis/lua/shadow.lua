-- Adds what a shadow has compared, each prediction once, all of it or nothing.
--
--   KEYS[1]   shadow                     ZSET   "<live>/<new>" -> last counted, ms
--   KEYS[2]   shadow:<new>               HASH   positions in the topics of predictions
--   KEYS[3..] of each live model: shadow:<live>/<new>, its :idx, and the :d:<domain> of __overflow__
--             and of its domains, in the order of ARGV[4]
--   ARGV[1]   how long after the last text all of it is kept, ms
--   ARGV[2]   pairs of models that are kept at most
--   ARGV[3]   domains of a pair at most, besides __overflow__
--   ARGV[4]   JSON {moves: [[field of positions, expected or -1, next]..],
--                   pairs: [[name, both models as JSON,
--                            [[domain, [counter, to add, counter, ..]]..]]..]}
--
-- Returns one of
--   {'ok', name..}      the pairs that there is no room for: nothing is counted of them
--   {'known'}           all of it was counted before
--   {'moved'}           somebody else has counted from there
--   {'corrupt', key, field, value}

local pairs_key, positions = KEYS[1], KEYS[2]
local ttl, most_pairs, most_domains = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local request = cjson.decode(ARGV[4])
local now = server_ms()

-- 1. Read and check.

local known, expected = #request.moves > 0, true
for _, move in ipairs(request.moves) do
  local stored = call('HGET', positions, move[1]) or '-1'
  known = known and stored == exact(move[3])
  expected = expected and (stored == '-1' or stored == exact(move[2])) -- lost: nothing counted is there
end
if known then return {'known'} end
if not expected then return {'moved'} end

local listed, answer = {}, {'ok'}
for _, name in ipairs(call('ZRANGEBYSCORE', pairs_key, exact(now - ttl), '+inf')) do
  listed[name] = true
  listed[#listed + 1] = name
end
local sums, taken, at = {}, {}, 2
for _, pair in ipairs(request.pairs) do
  local name, domains = pair[1], pair[3]
  local own, idx, overflow = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3]
  at = at + 3
  if not listed[name] and #listed >= most_pairs then
    answer[#answer + 1] = name
  else
    if not listed[name] then listed[#listed + 1] = name end
    local there = {}
    for _, domain in ipairs(call('ZRANGEBYSCORE', idx, exact(now - ttl), '+inf')) do
      there[domain] = true
      if domain ~= '__overflow__' then there[#there + 1] = domain end
    end
    taken[#taken + 1] = {own = own, idx = idx, name = name, models = pair[2], domains = {}}
    for i, row in ipairs(domains) do
      local key, domain = KEYS[at + i], row[1]
      if not there[domain] and #there >= most_domains then
        key, domain = overflow, '__overflow__'
      elseif not there[domain] then
        there[domain] = true
        there[#there + 1] = domain
      end
      sums[key] = sums[key] or {}
      taken[#taken].domains[domain] = true
      for j = 1, #row[2], 2 do
        local field, addition = row[2][j], row[2][j + 1]
        if not sums[key][field] then
          local text = call('HGET', key, field) or '0'
          sums[key][field] = count_in(text)
          if not sums[key][field] then return {'corrupt', key, field, text} end
        end
        if sums[key][field] > MAX - addition then
          return {'corrupt', key, field, exact(sums[key][field])}
        end
        sums[key][field] = sums[key][field] + addition
      end
    end
  end
  at = at + #domains
end

-- 2. Write.

call('ZREMRANGEBYSCORE', pairs_key, '-inf', exact(now - ttl - 1))
for _, move in ipairs(request.moves) do call('HSET', positions, move[1], exact(move[3])) end
for _, pair in ipairs(taken) do
  call('HSETNX', pair.own, 'begun', exact(now))
  call('HSET', pair.own, 'models', pair.models)
  call('ZADD', pairs_key, exact(now), pair.name)
  call('ZREMRANGEBYSCORE', pair.idx, '-inf', exact(now - ttl - 1))
  for domain in pairs(pair.domains) do call('ZADD', pair.idx, exact(now), domain) end
  call('PEXPIRE', pair.own, ttl)
  call('PEXPIRE', pair.idx, ttl)
end
for key, counts in pairs(sums) do
  local flat = {}
  for field, count in pairs(counts) do
    flat[#flat + 1], flat[#flat + 2] = field, exact(count)
  end
  call('HSET', key, unpack(flat))
  call('PEXPIRE', key, ttl)
end
call('PEXPIRE', positions, ttl)
call('PEXPIRE', pairs_key, ttl)
return answer
