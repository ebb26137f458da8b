-- Changes one domain, or the settings, and writes who did it and why to the audit; once, however
-- often the same call arrives. What would change nothing of a domain is not written, nor audited.
--
--   KEYS      meta, wm, gaps, idx, agg, audit (see common.lua); d:<domain> of a domain to change
--   ARGV[1]   token of this change
--   ARGV[2]   audit entries to keep
--   ARGV[3]   action: pin, unpin, freeze, unfreeze, reset, remove, label, unlabel,
--             configure, restart or a note
--   ARGV[4]   JSON of the arguments: exit, for_ms, keep, epoch, labels; revision, fields (of meta);
--             note (anything else: only the audit entry is written); automatic: nobody asked for
--             it; exits, size: see snapshot
--   ARGV[5..] field, value.. of the audit entry
--
-- Returns one of
--   {'ok', snapshot before, snapshot after, done}
--       snapshots are zeros where no domain is changed, or what is removed cannot be read; done is 0
--       where there was nothing to do
--   {'no-policy'}, {'unknown'}, {'full'}, {'conflict', revision}
--   {'corrupt', key, field, value}, {'overflow', key, field, value, addition}

local meta_key, wm, gaps, idx, agg, audit, domain_key = unpack(KEYS)
local token, action, given = ARGV[1], ARGV[3], cjson.decode(ARGV[4])

local meta, problem = load_meta(meta_key)
if problem then return problem end
local now = server_ms()
local prefix = domain_prefix(meta_key)
local record = {counters = {}, parsed = {}, numbers = {}, notes = {}, others = {}}
if domain_key and (action ~= 'remove' or unless_wrong_type('HGET', domain_key, '') ~= nil) then
  local found
  found, problem = load_record(domain_key, prefix, meta, now)
  if problem and action ~= 'remove' then return problem end
  record = found or record
end
local unreadable = domain_key and not record.key -- and to be removed
local before = snapshot(record, given.exits, given.size)

if told(audit, 'token', token) then return {'ok', before, before, 1} end

if domain_key and not (record.known or unreadable) then
  if action ~= 'pin' and action ~= 'freeze' then return {'unknown'} end
  if room(idx, meta, 0) < 1 then return {'full'} end
end

local totals, marks = {}, {}
if action == 'restart' then -- writes these anew, whatever they hold
  marks = readable_marks(wm)
else
  totals, problem = load_totals(agg)
  if problem then return problem end
end

-- Returns all that a change can change of the record, as text.
local function in_order()
  local texts = {}
  for _, fields in ipairs({record.counters, record.numbers, record.notes}) do
    for field, value in pairs(fields) do texts[#texts + 1] = field .. '=' .. as_text(value) end
  end
  table.sort(texts)
  return concat(texts, ';')
end

local left, was = 0, in_order() -- texts that go; what the record was
local numbers, notes = record.numbers, {}
for field, text in pairs(record.notes) do notes[field] = text end
record.notes = notes -- those of no notes are shared

-- The same arithmetic as `changes.scaled`.
local function scale(counters, share)
  local vectors, deepest = {}, -1
  for field, text in pairs(counters) do
    local vector, j = {}, tonumber(field)
    for number in gmatch(text, '%d+') do vector[#vector + 1] = tonumber(number) end
    vectors[j] = vector
    deepest = math.max(deepest, j)
  end
  local scaled, lists, observed = {}, {}, 0
  for j = deepest, 0, -1 do
    local old = vectors[j] or {}
    local played = math.floor((old[PLAYED] or 0) * share)
    observed = observed + played
    local new, seen = {}, old[OBSERVED] or 0
    for i = 1, math.max(#old, PLAYED) do
      local rest = seen > 0 and math.floor((old[i] or 0) * (observed / seen)) or 0
      new[i] = plain(math.min(rest, observed * (MOST[i] or 1)))
    end
    new[OBSERVED], new[PLAYED] = plain(observed), plain(played)
    local gated = math.floor((old[GATED] or 0) * share)
    if old[GATED] then new[GATED] = plain(gated) end
    for i = MISLED[1], math.min(#old, MISLED[2]) do
      new[i] = plain(math.min(math.ceil(old[i] * share), played))
    end
    if observed > 0 or gated > 0 then scaled[tostring(j)], lists[tostring(j)] = concat(new, ' '), new end
  end
  return scaled, lists
end

if (given.for_ms or 0) > MAX - now then
  return {'overflow', domain_key, 'pin_until', exact(now), format('%.0f', given.for_ms)}
end
may_write(idx, prefix, meta_key, meta)
if action == 'pin' then
  numbers.pin = given.exit
  numbers.pin_until = given.for_ms and now + given.for_ms or nil
  notes.pin_reason = given.note
elseif action == 'unpin' then
  numbers.pin, numbers.pin_until, notes.pin_reason = nil, nil, nil
elseif action == 'freeze' then
  numbers.frozen, notes.freeze_reason = 1, given.note
elseif action == 'unfreeze' then
  numbers.frozen, notes.freeze_reason = nil, nil
elseif action == 'reset' then
  if given.epoch and given.epoch ~= (numbers.epoch or 0) then return {'ok', before, before, 0} end
  local texts = texts_in(record.counters)
  if given.keep > 0 then
    record.counters, record.parsed = scale(record.counters, given.keep)
  else
    record.counters, record.parsed = {}, {}
    numbers.epoch = (numbers.epoch or 0) + 1
    if given.automatic then numbers.drifts = (numbers.drifts or 0) + 1 end
  end
  notes.labels = nil
  left = texts - texts_in(record.counters)
elseif action == 'label' then
  notes.labels = given.labels
elseif action == 'unlabel' then
  notes.labels = nil
elseif action == 'remove' then
  left = texts_lost(domain_key, meta)
elseif action == 'configure' then
  if meta.revision ~= given.revision then return {'conflict', meta.revision} end
elseif action == 'restart' then
  meta.gen = meta.gen + 1
end
local gone = tonumber(totals.gone or 0)
if gone > MAX - left then return {'overflow', agg, 'gone', exact(gone), exact(left)} end

if domain_key and action ~= 'remove' and in_order() == was then
  return {'ok', before, before, 0}
end

local entry = {'token', token, unpack(ARGV, 5)}
if given.automatic then
  entry[#entry + 1] = 'automatic'
  entry[#entry + 1] = '1'
end
if left > 0 and not unreadable then -- what is lost can be read, and written again, from the audit
  entry[#entry + 1] = 'before'
  entry[#entry + 1] = before
end
call('XADD', audit, 'MAXLEN', '~', ARGV[2], '*', unpack(entry))
local changes = count_in(call('HGET', meta_key, 'changes') or '0') or 0
call('HSET', meta_key, 'changes', exact(changes + 1))
if action == 'configure' then
  call('HSET', meta_key, 'revision', exact(tonumber(meta.revision) + 1),
             unpack(given.fields))
elseif action == 'restart' then
  start_afresh(meta_key, agg, wm, gaps, meta.gen, marks)
elseif action == 'remove' then
  call('DEL', domain_key)
  call('ZREM', idx, string.sub(domain_key, #prefix + 1))
elseif domain_key then
  write_record(record, idx, meta)
end
if left > 0 then call('HSET', agg, 'gone', exact(gone + left)) end
if action == 'remove' then
  record = {counters = {}, parsed = {}, numbers = {}, notes = {}}
end
return {'ok', before, snapshot(record, given.exits, given.size), 1}
