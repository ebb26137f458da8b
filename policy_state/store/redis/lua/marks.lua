-- Takes watermarks from elsewhere, for the partitions that nothing was counted of so far.
--
--   KEYS   meta, wm, gaps, agg (see common.lua)
--   ARGV   wm field, next offset, gaps, wm field, ..
--
-- Returns {'ok'}, or as apply.lua.

local meta_key, wm, gaps, agg = unpack(KEYS)
local meta, problem = load_meta(meta_key)
if problem then return problem end
local totals
totals, problem = load_totals(agg)
if problem then return problem end
-- Both raise, before anything is written, at another type.
local marks, gapped = fields_of(wm), fields_of(gaps)
marks, gapped = tonumber(totals.marks) or marks, tonumber(totals.gapped) or gapped
for i = 1, #ARGV, 3 do
  if call('HSETNX', wm, ARGV[i], ARGV[i + 1]) == 1 then
    marks = marks + 1
    if ARGV[i + 2] ~= '' then
      call('HSET', gaps, ARGV[i], ARGV[i + 2])
      gapped = gapped + 1
    end
  end
end
call('HSET', agg, 'marks', exact(marks), 'gapped', exact(gapped))
return {'ok'}
