-- What all scripts share: the map of keys, numbers, counters as text, audits and watermarks. The client
-- puts this file, records.lua and offsets.lua before each script.
--
-- Every key of one policy carries the hash tag {<pid>}, so all of them live on one cluster node:
--
--   offramp:policies             HASH    policy name -> policy id
--   offramp:{<pid>}:meta         HASH    fingerprint, layers, schema, settings, revision, created;
--                                        domains, idle_ms, rare_idle_ms, rare_texts: the limits;
--                                        gen: another one whenever all counters start afresh;
--                                        changes: how many the audit was told
--   offramp:{<pid>}:wm           HASH    "<topic id>/<partition>" -> next offset not yet counted
--   offramp:{<pid>}:gaps         HASH    the same -> "5-9 12-20": offsets below it not counted
--   offramp:{<pid>}:idx          ZSET    encoded domain -> last activity, ms by this server's
--                                        clock, or the end of its pin; plus CLASS while
--                                        pinned without an end, frozen or corrected by labels,
--                                        minus CLASS while hardly used
--   offramp:{<pid>}:agg          HASH    0 1 ..: sums of all that was counted, growing only;
--                                        brought, gone, skipped, lost, marks, gapped: see
--                                        `Totals`
--   offramp:{<pid>}:d:<domain>   HASH    0 1 ..: counters of each exit, and 0:9 0:15 0:22 ..: those
--                                        behind the first 9, 15 and 22; t: last text, ms; epoch:
--                                        how often started afresh, drifts: of these, by drift;
--                                        gen: that of meta when written;
--                                        pin, pin_until, pin_reason; frozen, freeze_reason;
--                                        labels: see `LabelledDuels.to_text`
--   offramp:{<pid>}:audit        STREAM  who changed what and why (capped)
--   offramp:{<pid>}:samples      STREAM  domains as they were at some numbers of texts (capped)
--   offramp:{<pid>}:shadow       ZSET    "<live>/<new>", two models that a shadow compares -> last text,
--                                        ms; this key and those below expire
--   offramp:{<pid>}:shadow:<new> HASH    "<topic id>/<partition>" of predictions -> next offset to compare
--   offramp:{<pid>}:shadow:<live>/<new>             HASH  models: both as JSON; begun, ms
--   offramp:{<pid>}:shadow:<live>/<new>:idx         ZSET  encoded domain -> last text, ms
--   offramp:{<pid>}:shadow:<live>/<new>:d:<domain>  HASH  counts by name: see `ShadowCounts.to_fields`
--   offramp:{routes:<group>}:table  HASH    revision; routes: JSON list, in order
--   offramp:{routes:<group>}:audit  STREAM  who changed the routes of that group and why (capped);
--                                        revision: the one that the change made
--   offramp:{positions:<group>}:<cluster id>  HASH  began: when that consumer group began, ms;
--                                        "<topic id>/<partition>" -> next offset it has not committed
--   offramp:worker:<instance>    HASH    heartbeat of a worker, expires
--   offramp:workers              ZSET    encoded instance -> when its heartbeat expires, ms
--
-- The counters of an exit are one text, "60 12 3 ..", in the order of `stats.KINDS`: OBSERVED, texts
-- that computed it, comes first, and PLAYED, texts that stopped there, third. GATED are texts that are in
-- no other counter, MISLED some of PLAYED. MOST are sums, of at most this much a text of OBSERVED. The
-- others are the client's.
-- Why one field an exit and not one a counter: docs/decisions/0011-one-field-per-exit.md.
-- Domains in keys, and reasons, are percent-encoded.
--
-- A key may go missing alone: a server that evicts, a hand. What tells: of wm and gaps how many fields they
-- had, in agg; of the audit how many changes, in meta; of idx, agg and the domains the sums of texts;
-- of a missing meta the other keys.
--
-- Numbers are doubles here: exact up to MAX, hence the checks and '%d'.

local OBSERVED, PLAYED, GATED = 1, 3, 15
local MISLED = {16, 28} -- the first and the last
local MOST = {[10] = 1000, [11] = 1000, [12] = 1000} -- credit, squares, confidence: thousandths
local MAX = 9007199254740991 -- 2^53 - 1
local CLASS = 1e15 -- ms: far more than any time of day
local NUMBERS = {t = true, epoch = true, drifts = true, gen = true, pin = true, pin_until = true,
                 frozen = true}
local NOTES = {pin_reason = true, freeze_reason = true, labels = true}

local call, concat, tonumber = redis.call, table.concat, tonumber
local find, format, gmatch, match = string.find, string.format, string.gmatch, string.match

local function exact(number)
  return format('%d', number)
end

local function as_text(value)
  return type(value) == 'number' and exact(value) or value
end

local function is_count(text)
  return not find(text, '%D') and text ~= '' and (#text < 16 or tonumber(text) <= MAX)
end

local function count_in(text)
  return is_count(text) and tonumber(text) or nil
end

-- Returns a table whose values are made when they are first asked for.
local function memo(make)
  return setmetatable({}, {__index = function(known, key)
    known[key] = make(key)
    return known[key]
  end})
end

-- Counters are fields whose name is an exit. Where an exit has many, the later ones of a domain are
-- fields of their own: a value of more than 64 bytes makes a hash take more than twice the memory.
local CUTS = {9, 15, 22}
local is_counter = memo(function(field) return find(field, '^%d+$') ~= nil end)
local is_rest = memo(function(field) return find(field, '^%d+:%d+$') ~= nil end)
local rest_of = memo(function(field)
  return memo(function(cut) return format('%s:%d', field, cut) end)
end)
local heads = memo(function(size) return '^(%d+' .. string.rep(' %d+', size - 1) .. ') (.+)$' end)

-- Appends the fields and values that keep the counters of an exit to a list.
local function write_counters(field, text, writes)
  local name, before, length = field, 0, #writes
  for _, cut in ipairs(CUTS) do
    local head, rest = match(text, heads[cut - before])
    if not head then break end
    writes[length + 1], writes[length + 2] = name, head
    name, text, before, length = rest_of[field][cut], rest, cut, length + 2
  end
  writes[length + 1], writes[length + 2] = name, text
end

-- Returns the counters of an exit as one text; nil, and the field that does not fit.
local function joined(field, text, rests)
  local held = 1 + select(2, string.gsub(text, ' ', ''))
  for _, cut in ipairs(CUTS) do
    local name = rest_of[field][cut]
    local rest = rests[name]
    if rest then
      if held ~= cut then return nil, name end
      text, held = text .. ' ' .. rest, held + 1 + select(2, string.gsub(rest, ' ', ''))
    end
  end
  return text
end
-- The field of an exit, counted from 1 here.
local field_of = memo(function(exit) return tostring(exit - 1) end)

local LONG = string.rep('%d', 16)

local function are_counts(text)
  if not find(text, '^%d[%d ]*$') then return false end
  if #text < 16 or not find(text, LONG) then return true end
  for number in gmatch(text, '%d+') do
    if tonumber(number) > MAX then return false end
  end
  return true
end

local function plain(number) -- concat writes fewer digits than a large count has
  return number < 1e14 and number or exact(number)
end

-- Texts of a number of counters: as patterns, as formats, with nothing counted.
local patterns = memo(function(size) return '^(%d+)' .. string.rep(' (%d+)', size - 1) .. '$' end)
local formats = memo(function(size) return '%d' .. string.rep(' %d', size - 1) end)
local tails = memo(function(cut) return string.rep(' 0', cut) end)
local zeros = memo(function(size) return '0' .. string.rep(' 0', size - 1) end)

-- Returns the counters of an exit as a list; nil where they are none. `size`: how many are expected.
-- The last ones that are 0 are not stored (`cut` of them): many kinds always are, of a model without
-- calibration or of two classes, and each would take 2 bytes an exit.
local likely -- how many the text before had
local function parsed(text, size)
  local held = likely or size
  local numbers = {match(text, patterns[held])}
  if not numbers[1] then
    local _, gaps = string.gsub(text, ' ', '')
    held = gaps + 1
    if held <= size then numbers = {match(text, patterns[held])} end
  end
  if numbers[1] and held <= size then
    likely = held
    for i = held + 1, size do numbers[i] = 0 end
    numbers.cut = size - held
    if #text < 14 + 2 * held or not find(text, LONG) or are_counts(text) then return numbers end
    return nil
  end
  if not are_counts(text) then return nil end
  numbers = {}
  for number in gmatch(text, '%d+') do numbers[#numbers + 1] = number end
  return numbers
end

-- Returns the sum of a list and of the `size` additions from `at` on, as text; nil, old and new where
-- that is too much.
local function added(numbers, additions, at, size)
  for i = 1, size do
    local old, addition = numbers[i] or 0, additions[at + i - 1]
    local sum = old + addition
    if sum > MAX then return nil, old, addition end
    numbers[i] = sum
  end
  local held = #numbers
  local kept = held
  while held == size and kept > 1 and numbers[kept] == 0 do kept = kept - 1 end
  numbers.cut = held - kept
  return format(formats[kept], unpack(numbers, 1, kept))
end

-- Returns n of exit 0: the texts of a domain.
local function texts_in(counters)
  return tonumber(match(counters['0'] or '0', '^%d+'))
end

-- Returns the answer of a command; nil where its key is of another type.
local function unless_wrong_type(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if find(answer.err, 'WRONGTYPE') then return nil end
  return call(...) -- raises
end

-- What all keys of domains begin with, from the key of meta.
local function domain_prefix(meta_key)
  return string.sub(meta_key, 1, -#'meta' - 1) .. 'd:'
end

local function server_ms()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns what the latest entry of an audit that has a field says in it; `wanted`: that says this.
local function told(audit, field, wanted)
  for _, entry in ipairs(call('XREVRANGE', audit, '+', '-', 'COUNT', 64)) do
    for i = 1, #entry[2], 2 do
      local text = entry[2][i + 1]
      if entry[2][i] == field and (not wanted or text == wanted) then return text end
    end
  end
end

-- Returns the revision that the latest change of routes made, by their history; 0 where it does not tell.
local function latest_revision(audit)
  return count_in(told(audit, 'revision') or '') or 0
end

-- Returns the watermarks that can be read, by source.
local function readable_marks(wm)
  local marks, flat = {}, unless_wrong_type('HGETALL', wm) or {}
  for i = 1, #flat, 2 do
    local upto = count_in(flat[i + 1])
    if upto and upto > 0 then marks[flat[i]] = flat[i + 1] end
  end
  return marks
end

-- Sets all counters to zero, and all offsets below the watermarks to not counted.
local function start_afresh(meta_key, agg, wm, gaps, gen, marks)
  local count = 0
  call('HSET', meta_key, 'gen', exact(gen))
  call('DEL', agg, wm, gaps)
  for source, upto in pairs(marks) do
    call('HSET', wm, source, upto)
    call('HSET', gaps, source, '0-' .. upto)
    count = count + 1
  end
  call('HSET', agg, 'marks', exact(count), 'gapped', exact(count))
end

