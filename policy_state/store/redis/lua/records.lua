-- The meta of a policy and the records of its domains: read, shown, written.

-- Returns {fingerprint, revision, settings, layers, gen, domains, idle_ms, rare_idle_ms, rare_texts}
-- by name, or nil and what to answer where there is no policy, or none of the model that is asked for.
local function load_meta(key, fingerprint)
  local names = {'fingerprint', 'revision', 'settings', 'layers', 'gen',
                 'domains', 'idle_ms', 'rare_idle_ms', 'rare_texts'}
  local values, found = call('HMGET', key, unpack(names)), {}
  if not values[1] then return nil, {'no-policy'} end
  for i, name in ipairs(names) do found[name] = values[i] or '0' end
  for _, name in ipairs({'gen', 'domains', 'idle_ms', 'rare_idle_ms', 'rare_texts'}) do
    local count = count_in(found[name])
    if not count then return nil, {'corrupt', key, name, found[name]} end
    found[name] = count
  end
  if not is_count(found.revision) then return nil, {'corrupt', key, 'revision', found.revision} end
  if found.fingerprint ~= (fingerprint or found.fingerprint) then
    return nil, {'fingerprint', found.fingerprint}
  end
  return found
end

local NONE = {} -- never written to

-- Returns whether a text is what `LabelledDuels` reads, for as many exits as there are layers: what the
-- client refuses must be refused before texts are counted.
local function are_labels(text, layers)
  if not are_counts(text) or find(text, '  ') or find(text, ' $') then return false end
  local numbers = {}
  for number in gmatch(text, '%d+') do numbers[#numbers + 1] = tonumber(number) end
  local exits = 1 + select(2, string.gsub(layers, ',', ''))
  if #numbers ~= 1 + 3 * exits or numbers[1] >= 1e15 then return false end
  for at = 2, #numbers, 3 do
    local duels, decided = numbers[at], numbers[at + 1] + numbers[at + 2]
    if decided > duels or duels > numbers[1] or at == 2 and duels > 0 then return false end
  end
  return true
end

-- Returns {key, name, known, counters, parsed, numbers, notes, others, stale} of a domain. Counters of
-- an older generation are as good as gone, readable or not: they are in stale. A pin whose time is over is none.
-- `size`: how many counters an exit has, where they are to be parsed.
local function load_record(key, prefix, meta, now, size)
  local flat, counters, numbers, lists = call('HGETALL', key), {}, {}, {}
  local record = {key = key, name = string.sub(key, #prefix + 1), known = #flat > 0,
                  counters = counters, parsed = lists, numbers = numbers,
                  notes = NONE, others = NONE}
  local damage, rests
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if is_counter[field] then
      counters[field] = value
    elseif is_rest[field] then
      rests = rests or {}
      rests[field] = value
    elseif NUMBERS[field] then
      if not is_count(value) then return nil, {'corrupt', key, field, value} end
      numbers[field] = tonumber(value)
    else
      if field == 'labels' and not are_labels(value, meta.layers) then
        return nil, {'corrupt', key, field, value}
      end
      local group = NOTES[field] and 'notes' or 'others'
      if record[group] == NONE then record[group] = {} end
      record[group][field] = value
    end
  end
  for field in pairs(rests or NONE) do
    local exit = match(field, '^%d+')
    if not counters[exit] then damage = {'corrupt', key, field, rests[field]} end
  end
  for field, value in pairs(counters) do
    local text, wrong = value, nil
    if rests then text, wrong = joined(field, value, rests) end
    local list = text and parsed(text, size or 1)
    if not list then damage = {'corrupt', key, wrong or field, wrong and rests[wrong] or value} end
    counters[field], lists[field] = text or value, list
  end
  if (numbers.gen or 0) ~= meta.gen then
    record.stale, record.counters, record.parsed = counters, {}, {}
    for field, value in pairs(rests or NONE) do counters[field] = value end
  elseif damage then
    return nil, damage
  end
  if numbers.pin_until and numbers.pin_until <= now then
    record.pin_ended = true
    numbers.pin, numbers.pin_until, record.notes.pin_reason = nil, nil, nil
  end
  return record
end

-- Returns the texts that go with a domain, whatever its key holds.
local function texts_lost(key, meta)
  local held = redis.pcall('HMGET', key, '0', 'gen')
  if held.err or count_in(held[2] or '0') ~= meta.gen or not are_counts(held[1] or '0') then
    return 0
  end
  return texts_in({['0'] = held[1]})
end

-- Returns "<counters of exit 0, of exit 1, ..>;<field>;<value>;.." with `size` counters for each of so
-- many exits: one string, for the client reads it much faster than a nested array.
local function snapshot(record, exits, size)
  local flat, at = {}, 1
  for exit = 1, exits do
    local field = field_of[exit]
    local text, list = record.counters[field], record.parsed[field]
    if not text then
      text = zeros[size]
    elseif #list ~= size then -- written by another version
      local whole = {unpack(list)}
      for i = #list + 1, size do whole[i] = 0 end
      text = format(formats[size], unpack(whole, 1, size))
    elseif list.cut then
      text = text .. tails[list.cut]
    end
    flat[exit] = text
  end
  flat = {concat(flat, ' ')}
  for field, value in pairs(record.numbers) do
    flat[at + 1], flat[at + 2] = field, exact(value)
    at = at + 2
  end
  for field, value in pairs(record.notes) do
    flat[at + 1], flat[at + 2] = field, value
    at = at + 2
  end
  return concat(flat, ';')
end

-- Rises where a sample is kept: at 16, 24, 32, 48, 64 .. texts.
local function sample_step(texts)
  if texts < 16 then return 0 end
  local share, power = math.frexp(texts)
  return 2 * power + (share >= 0.75 and 1 or 0)
end

local function index_score(record, meta, texts)
  local numbers, last = record.numbers, record.numbers.t or 0
  local ends = numbers.pin and numbers.pin_until
  local held = numbers.frozen or record.notes.labels or numbers.pin and not ends
  if held then return exact(last + CLASS) end
  if ends then return exact(math.max(last, ends)) end
  if texts < meta.rare_texts then return exact(last - CLASS) end
  return exact(last)
end

-- Writes all of a record anew; one without anything goes.
local function write_record(record, idx, meta)
  local flat, size = {}, 0
  record.numbers.gen = nil
  for field, text in pairs(record.counters) do write_counters(field, text, flat) end
  size = #flat
  for _, values in ipairs({record.numbers, record.notes, record.others}) do
    for field, value in pairs(values) do
      flat[size + 1], flat[size + 2] = field, as_text(value)
      size = size + 2
    end
  end
  call('DEL', record.key)
  if size == 0 then
    call('ZREM', idx, record.name)
    return
  end
  if meta.gen > 0 then flat[size + 1], flat[size + 2] = 'gen', exact(meta.gen) end
  call('HSET', record.key, unpack(flat))
  call('ZADD', idx, index_score(record, meta, texts_in(record.counters)), record.name)
end

-- How many more domains there may be; the shared one does not take another's place.
local function room(idx, meta, leaving)
  local free = meta.domains - (call('ZCARD', idx) - leaving)
  if free <= 0 and call('ZSCORE', idx, '__overflow__') then free = free + 1 end
  return free
end

-- How many fields a hash has; by a command that users have the right to.
local function fields_of(key)
  return #call('HGETALL', key) / 2
end

-- Returns the sums of all domains, and what else agg knows.
local function load_totals(key)
  local totals, flat = {}, call('HGETALL', key)
  for i = 1, #flat, 2 do
    local valid = is_counter[flat[i]] and are_counts or is_count
    if not valid(flat[i + 1]) then return nil, {'corrupt', key, flat[i], flat[i + 1]} end
    totals[flat[i]] = flat[i + 1]
  end
  return totals
end

-- Raises, before anything is written, where this user may not do what will be done half-way, or the
-- server is full: by commands without effect, of which HSET has none.
local function may_add(idx)
  call('ZADD', idx, 'XX', '0', '')
end

local function may_remove(idx, prefix)
  call('ZREM', idx, '')
  call('HDEL', prefix, '')
  call('DEL', prefix)
end

local function may_write(idx, prefix, meta_key, meta)
  may_add(idx)
  may_remove(idx, prefix)
  call('HSET', meta_key, 'fingerprint', meta.fingerprint)
end

