-- Adds what partitions have learnt to their domains, each offset once, all of it or nothing.
--
--   KEYS[1..7]   meta, wm, gaps, idx, agg, d:__overflow__, samples (see common.lua)
--   KEYS[8..]    d:<domain> of every domain to change or to return
--   ARGV[1]      fingerprint that meta must hold
--   ARGV[2]      revision of the settings that the caller has
--   ARGV[3]      1: texts of the past, frozen domains count them too
--   ARGV[4]      JSON [[wm field, first offset, next offset, [[d, epoch or -1, [add..]]..],
--                      [sum over d..]]..]
--                d counting the domains from 1; -1: of any epoch; to add: the
--                counters of exit 0, of exit 1, and so on
--   ARGV[5..6]   how many exits there are, and how many counters each
--   ARGV[7]      samples to keep
--
-- Returns one of
--   {'ok', revision, settings, limits, outcome per part, refusals, snapshot per domain}
--       settings and limits are '' where the caller has them; the last three are lines
--       limits are "<domains> <idle_ms> <rare_idle_ms> <rare_texts>"
--       an outcome is "<status> <counted up to> <gap> <missing first-next>.."
--       a refusal is "<d> frozen|stale-epoch|over-cap"
--       for a snapshot see records.lua
--       a part whose partition's watermark went missing is a duplicate: it may have been counted
--   {'no-policy'}
--   {'fingerprint', stored fingerprint}
--   {'corrupt', key, field, value}
--   {'overflow', key, field, value, addition}
--   {'excess', key, field, addition, texts}: more than so many texts can add

local FIXED_KEYS = 7
local TRIM = 8 -- idle domains that one call removes at most, of each class
local UNPACKED = 2000 -- arguments of one call at most: Lua's stack holds 8000
local meta_key, wm, gaps_key, idx, agg, overflow_key, samples = unpack(KEYS, 1, FIXED_KEYS)
local prefix = domain_prefix(meta_key)
local rebuild = ARGV[3] == '1'
local parts = cjson.decode(ARGV[4])
local exits, size = tonumber(ARGV[5]), tonumber(ARGV[6])

-- 1. Read and check. A wrong type raises here, where nothing has been written.

local meta, problem = load_meta(meta_key, ARGV[1])
if problem then return problem end

local now = server_ms()
local records, asked = {}, {}

local function record_of(key)
  if not records[key] then
    local found
    found, problem = load_record(key, prefix, meta, now, size)
    records[key] = found
  end
  return records[key]
end

local unknown = false
for i = FIXED_KEYS + 1, #KEYS do
  local record = record_of(KEYS[i])
  if problem then return problem end
  asked[i - FIXED_KEYS] = record
  unknown = unknown or not record.known
end

local totals, expired = {}, {}
if #parts > 0 then
  totals, problem = load_totals(agg)
  if problem then return problem end
  local function find_idle(low, high)
    local names = call('ZRANGEBYSCORE', idx, low, exact(high), 'LIMIT', 0, TRIM)
    for _, name in ipairs(names) do
      if not records[prefix .. name] then expired[#expired + 1] = name end
    end
  end
  find_idle('-inf', now - meta.rare_idle_ms - CLASS)
  find_idle('0', now - meta.idle_ms)
end

local free = unknown and room(idx, meta, #expired) or 0

-- 2. Decide for each part, and sum up what is to be added.

local marks, changed, sums, refusals, outcomes = {}, {}, {}, {}, {}
local ledger = {skipped = 0, gone = 0, lost = 0}
local new_marks, held_marks = 0, nil

-- Adds `counts` to a record, and appends to `writes` what to write.
local function add(record, counts, writes)
  local counters, lists, length = record.counters, record.parsed, #writes
  for exit = 1, exits do
    local at = (exit - 1) * size + OBSERVED
    local observed = counts[at] or 0
    local gated = size >= GATED and counts[at + GATED - OBSERVED] or 0
    if observed > 0 or gated > 0 then
      local field = field_of[exit]
      for kind, most in pairs(MOST) do
        local addition = kind <= size and counts[at + kind - OBSERVED] or 0
        if addition > most * observed then
          problem = {'excess', record.key, field, exact(addition), exact(observed)}
          return
        end
      end
      local list = lists[field]
      if not list then
        list = {}
        lists[field] = list
      end
      local text, old, addition = added(list, counts, at, size)
      if not text then
        problem = {'overflow', record.key, field, exact(old), exact(addition)}
        return
      end
      counters[field] = text
      if record.whole or #list - list.cut <= CUTS[1] then
        writes[length + 1], writes[length + 2] = field, text
      else
        write_counters(field, text, writes)
      end
      length = #writes
    end
  end
end

-- Adds to what all domains together get, `sign` times.
local function sum_up(counts, sign)
  for i, count in ipairs(counts) do sums[i] = (sums[i] or 0) + sign * count end
end

local function are_marks_missing()
  held_marks = held_marks or fields_of(wm)
  return held_marks < tonumber(totals.marks or 0)
end

local function mark_of(source)
  if not marks[source] then
    local text = call('HGET', wm, source)
    local upto = count_in(text or '0')
    if not upto then
      problem = {'corrupt', wm, source, text}
      return nil
    end
    marks[source] = {upto = upto, was = text}
    if not text then
      new_marks = new_marks + 1
      marks[source].lost = are_marks_missing()
    end
  end
  return marks[source]
end

-- Returns the record that takes the texts of asked[d], nil where none does.
local function taker(d, epoch, texts)
  local record, refusal = asked[d], nil
  if not rebuild and record.numbers.frozen then
    refusal = 'frozen'
  elseif epoch >= 0 and epoch < (record.numbers.epoch or 0) then
    refusal = 'stale-epoch'
  end
  if refusal then
    refusals[#refusals + 1] = d .. ' ' .. refusal
    ledger.skipped = ledger.skipped + texts
    if record.known then changed[record] = changed[record] or {} end -- seen, though not counted
    return nil
  end
  if not record.known then
    if free < 1 and record.key ~= overflow_key then
      refusals[#refusals + 1] = d .. ' over-cap'
      record = record_of(overflow_key)
      if problem then return nil end
    else
      free = free - 1
      if epoch > 0 then record.numbers.epoch = epoch end
    end
    record.known = true
  end
  changed[record] = changed[record] or {}
  return record
end

for i, part in ipairs(parts) do
  local source, first, following, deltas = part[1], part[2], part[3], part[4]
  local mark = mark_of(source)
  if problem then return problem end
  local status, opened, missing = judge(gaps_key, source, mark, first, following)
  if not status then return opened end
  if status == 'applied' then
    sum_up(part[5], 1)
    for _, delta in ipairs(deltas) do
      local record = taker(delta[1], delta[2], delta[3][OBSERVED])
      if record then
        record.new_texts = (record.new_texts or 0) + delta[3][OBSERVED]
        add(record, delta[3], changed[record])
      else
        sum_up(delta[3], -1)
      end
      if problem then return problem end
    end
  elseif mark.lost then
    for _, delta in ipairs(deltas) do ledger.skipped = ledger.skipped + delta[3][OBSERVED] end
  end
  outcomes[i] = status .. ' ' .. exact(mark.upto) .. ' ' .. exact(opened) .. missing
end

local more_gapped = 0
for _, mark in pairs(marks) do
  ledger.lost = ledger.lost + (mark.dropped or 0)
  if mark.gaps_changed then
    more_gapped = more_gapped + (#mark.gaps > 0 and 1 or 0) - (mark.had_gaps and 1 or 0)
  end
end
for _, name in ipairs(expired) do ledger.gone = ledger.gone + texts_lost(prefix .. name, meta) end
local total_writes = {}
local function write_total(field, count)
  total_writes[#total_writes + 1] = field
  total_writes[#total_writes + 1] = exact(count)
end
local lists = memo(function(field) return parsed(totals[field] or '0', size) end)
add({key = agg, counters = totals, parsed = lists, whole = true}, sums, total_writes)
if problem then return problem end
for field, addition in pairs(ledger) do
  local old = tonumber(totals[field] or 0)
  if old > MAX - addition then return {'overflow', agg, field, exact(old), exact(addition)} end
  if addition > 0 then write_total(field, old + addition) end
end

for field, more in pairs({marks = new_marks, gapped = more_gapped}) do
  if more ~= 0 then
    local old = tonumber(totals[field]) or fields_of(field == 'marks' and wm or gaps_key)
    write_total(field, math.max(0, old + more))
  end
end

-- 3. Write. Nothing below can fail half-way: types, values and permissions were checked.

local moved, removes = false, #expired > 0
for _, mark in pairs(marks) do
  moved = moved or mark.moved
  removes = removes or mark.gaps_changed
end
for record in pairs(changed) do removes = removes or record.stale or record.pin_ended end
if moved then
  may_add(idx)
  if removes then may_remove(idx, prefix) end
  for source, mark in pairs(marks) do write_mark(wm, gaps_key, source, mark) end
  local scores, length = {}, 0
  for record, writes in pairs(changed) do
    for field in pairs(record.stale or {}) do call('HDEL', record.key, field) end
    if record.pin_ended then call('HDEL', record.key, 'pin', 'pin_until', 'pin_reason') end
    record.numbers.t = now
    if meta.gen > 0 then record.numbers.gen = meta.gen end
    for field, value in pairs(record.numbers) do
      local size = #writes
      writes[size + 1], writes[size + 2] = field, exact(value)
    end
    call('HSET', record.key, unpack(writes))
    local texts = texts_in(record.counters)
    scores[length + 1], scores[length + 2] = index_score(record, meta, texts), record.name
    length = length + 2
    if length == UNPACKED then
      call('ZADD', idx, unpack(scores))
      scores, length = {}, 0
    end
    if not rebuild and sample_step(texts) > sample_step(texts - (record.new_texts or 0)) then
      -- Counting is more than its history: where a sample cannot be written, there is none.
      redis.pcall('XADD', samples, 'MAXLEN', '~', ARGV[7], '*',
                  'domain', record.name, 'record', snapshot(record, exits, size))
    end
  end
  if length > 0 then call('ZADD', idx, unpack(scores)) end
  for _, name in ipairs(expired) do
    call('DEL', prefix .. name)
    call('ZREM', idx, name)
  end
  if #total_writes > 0 then call('HSET', agg, unpack(total_writes)) end
end

-- 4. Return the fresh snapshots. A domain that there is no room for is shown as the shared one.

local snapshots = {}
for d, record in ipairs(asked) do
  if not record.known and free < 1 then
    record = record_of(overflow_key)
    if problem then record, problem = asked[d], nil end
  end
  snapshots[d] = snapshot(record, exits, size)
end
local settings, limits = '', ''
if meta.revision ~= ARGV[2] then
  settings = meta.settings
  limits = format('%d %d %d %d', meta.domains, meta.idle_ms, meta.rare_idle_ms, meta.rare_texts)
end
return {'ok', meta.revision, settings, limits,
        concat(outcomes, '\n'), concat(refusals, '\n'), concat(snapshots, '\n')}
