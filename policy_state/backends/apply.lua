-- Adds what partitions have learnt to their domains, each offset once, all of it or nothing.
--
-- Every key of one policy carries the hash tag {<pid>}, so all of them live on one cluster node:
--
--   offramp:policies             HASH   policy name -> policy id (the only key without the tag)
--   offramp:{<pid>}:meta         HASH   name, fingerprint, layers, cost, alpha, settings, revision
--   offramp:{<pid>}:wm           HASH   "<topic id>/<partition>" -> next offset not yet counted
--   offramp:{<pid>}:idx          ZSET   encoded domain -> last activity, ms by this server's clock
--   offramp:{<pid>}:agg          HASH   n0.. d0.. p0..: sums over all domains
--   offramp:{<pid>}:d:<domain>   HASH   n0.. d0.. p0..: counters; epoch: how often started afresh
--   offramp:worker:<instance>    HASH   heartbeat of a worker, expires
--
-- A counter is a field of one lower-case letter and an exit number. Which letters there are is the
-- client's business: whatever it sends is added. A domain in a key is percent-encoded.
--
--   KEYS[1..4]   meta, wm, idx, agg
--   KEYS[5..]    d:<domain> of every domain to change or to return
--   ARGV[1]      fingerprint that meta must hold
--   ARGV[2]      JSON [[watermark field, first offset, next offset, [[d, {counter: add}]..]]..],
--                d counting the domains from 1
--   ARGV[3..]    the encoded domains, in the order of KEYS[5..]
--
-- Returns one of
--   {'ok', {status, counted up to, status, ..} per part, {snapshot, ..} per domain}
--       a snapshot is "<last ms or nothing> <field> <value> <field> <value>.."
--   {'no-policy'}
--   {'fingerprint', stored fingerprint}
--   {'corrupt', key, field, value}
--   {'overflow', key, field, value, addition}
--
-- Numbers are doubles here: exact up to MAX, hence the checks and '%.0f'.

local MAX = 9007199254740991 -- 2^53 - 1
local FIXED_KEYS = 4
local meta, wm, idx, agg = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local parts = cjson.decode(ARGV[2])

local function exact(number)
  return string.format('%.0f', number)
end

local function count_in(text)
  if not string.find(text, '^%d+$') then return nil end
  local count = tonumber(text)
  if count > MAX then return nil end
  return count
end

-- 1. Read and check. A wrong type raises here, where nothing has been written.

local fingerprint = redis.call('HGET', meta, 'fingerprint')
if not fingerprint then return {'no-policy'} end
if fingerprint ~= ARGV[1] then return {'fingerprint', fingerprint} end

local function load_counters(key)
  local fields, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if field == 'epoch' or string.find(field, '^%l%d+$') then
      local count = count_in(value)
      if not count then return nil, {'corrupt', key, field, value} end
      fields[field] = count
    end
  end
  return fields
end

local stored, last_ms = {}, {}
for i = FIXED_KEYS + 1, #KEYS do
  local d, problem = i - FIXED_KEYS
  stored[d], problem = load_counters(KEYS[i])
  if problem then return problem end
  last_ms[d] = redis.call('ZSCORE', idx, ARGV[2 + d]) or ''
end
local totals, problem = load_counters(agg)
if problem then return problem end

-- 2. Decide for each part, and sum up what is to be added.

local marks, added, added_totals, answers = {}, {}, {}, {}

local function add(target, present, key, field, addition)
  local sum = target[field] or present[field] or 0
  if sum > MAX - addition then
    return {'overflow', key, field, exact(sum), exact(addition)}
  end
  target[field] = sum + addition
end

for _, part in ipairs(parts) do
  local source, first, next_offset, deltas = part[1], part[2], part[3], part[4]
  local upto = marks[source]
  if not upto then
    local text = redis.call('HGET', wm, source) or '0'
    upto = count_in(text)
    if not upto then return {'corrupt', wm, source, text} end
  end
  local status = 'applied'
  if next_offset <= upto then
    status = 'duplicate'
  elseif first < upto then
    status = 'overlap'
  else
    upto = next_offset
    marks[source] = upto
    for _, delta in ipairs(deltas) do
      local d = delta[1]
      for field, addition in pairs(delta[2]) do
        added[d] = added[d] or {}
        problem = add(added[d], stored[d], KEYS[FIXED_KEYS + d], field, addition)
            or add(added_totals, totals, agg, field, addition)
        if problem then return problem end
      end
    end
  end
  answers[#answers + 1] = status
  answers[#answers + 1] = exact(upto)
end

-- 3. Write. Nothing below can fail half-way: types and values were checked above.

local function write(key, values)
  local flat = {}
  for field, value in pairs(values) do
    flat[#flat + 1] = field
    flat[#flat + 1] = exact(value)
  end
  if #flat > 0 then redis.call('HSET', key, unpack(flat)) end
end

local time = redis.call('TIME')
local now_ms = exact(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
for d, sums in pairs(added) do
  write(KEYS[FIXED_KEYS + d], sums)
  redis.call('ZADD', idx, now_ms, ARGV[2 + d])
  last_ms[d] = now_ms
  for field, sum in pairs(sums) do stored[d][field] = sum end
end
write(agg, added_totals)
write(wm, marks)

-- 4. Return the fresh snapshots.

local snapshots = {}
for d, fields in ipairs(stored) do
  local flat = {last_ms[d]}
  for field, value in pairs(fields) do
    flat[#flat + 1] = field
    flat[#flat + 1] = exact(value)
  end
  snapshots[d] = table.concat(flat, ' ') -- one string: the client reads it much faster
end
return {'ok', answers, snapshots}
