-- Writes whole domains that were counted elsewhere: an import, a warm start.
--
--   KEYS[1..3]   meta, idx, agg (see common.lua)
--   KEYS[4..]    d:<domain>
--   ARGV[1]      fingerprint that meta must hold
--   ARGV[2]      1: replace domains that are known; 0: leave them out
--   ARGV[3]      JSON [[{exit: counters}, {number: value}, {note: text}]..] per domain
--
-- Returns {'ok', {d..}} with the domains left out, counted from 1, or as apply.lua.

local FIXED_KEYS = 3
local meta_key, idx, agg = unpack(KEYS, 1, FIXED_KEYS)

local meta, problem = load_meta(meta_key, ARGV[1])
if problem then return problem end
local totals
totals, problem = load_totals(agg)
if problem then return problem end

local now = server_ms()
local prefix = domain_prefix(meta_key)
local free = room(idx, meta, 0)
local written, left_out = {}, {}
local brought, gone = tonumber(totals.brought or 0), tonumber(totals.gone or 0)
for d, fresh in ipairs(cjson.decode(ARGV[3])) do
  local record
  record, problem = load_record(KEYS[FIXED_KEYS + d], prefix, meta, now)
  if problem then return problem end
  if record.known and ARGV[2] == '0' or not record.known and free < 1 then
    left_out[#left_out + 1] = d
  else
    if not record.known then free = free - 1 end
    gone = gone + texts_in(record.counters)
    brought = brought + texts_in(fresh[1])
    if brought > MAX then return {'overflow', agg, 'brought', exact(brought), '0'} end
    record.counters, record.numbers, record.notes = fresh[1], fresh[2], fresh[3]
    written[#written + 1] = record
  end
end

may_write(idx, prefix, meta_key, meta)
for _, record in ipairs(written) do
  record.numbers.t = record.numbers.t or now
  write_record(record, idx, meta)
end
call('HSET', agg, 'brought', exact(brought), 'gone', exact(gone))
return {'ok', left_out}
