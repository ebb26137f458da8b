-- Brings back what people have set, of a policy that lost it: settings, pins, freezes, labels. May be repeated.
--
--   KEYS[1..2]   meta, idx (see common.lua)
--   KEYS[3..]    d:<domain>
--   ARGV[1]      fingerprint that meta must hold
--   ARGV[2]      JSON [[{number: value}, {note: text}]..] per domain: its pin, freeze and labels, or none
--   ARGV[3..]    field, value.. of meta
--
-- Returns {'ok', domains written}, or as apply.lua. A domain that there is no room for is left out.

local FIXED_KEYS = 2
local meta_key, idx = KEYS[1], KEYS[2]

local meta, problem = load_meta(meta_key, ARGV[1])
if problem then return problem end

local now = server_ms()
local prefix = domain_prefix(meta_key)
local free = room(idx, meta, 0)
local written = {}
for d, given in ipairs(cjson.decode(ARGV[2])) do
  local record
  record, problem = load_record(KEYS[FIXED_KEYS + d], prefix, meta, now)
  if problem then return problem end
  local wanted = next(given[1]) ~= nil or next(given[2]) ~= nil
  if record.known or wanted and free > 0 then
    if not record.known then free = free - 1 end
    local numbers, notes = record.numbers, {}
    for name, text in pairs(given[2]) do notes[name] = text end
    numbers.pin, numbers.pin_until, numbers.frozen = nil, nil, nil
    for name, value in pairs(given[1]) do numbers[name] = value end
    record.notes = notes
    written[#written + 1] = record
  end
end

may_write(idx, prefix, meta_key, meta)
if #ARGV > 2 then call('HSET', meta_key, unpack(ARGV, 3)) end
for _, record in ipairs(written) do write_record(record, idx, meta) end
return {'ok', #written}
