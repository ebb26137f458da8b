-- Takes watermarks from elsewhere, for the partitions that nothing was counted of so far.
--
--   KEYS   meta, wm, gaps (see common.lua)
--   ARGV   wm field, next offset, gaps, wm field, ..
--
-- Returns {'ok'}, or as apply.lua.

local meta, problem = load_meta(KEYS[1])
if problem then return problem end
if not meta then return {'no-policy'} end
for i = 2, 3 do call('HGET', KEYS[i], '') end -- raises, before anything is written, at another type
for i = 1, #ARGV, 3 do
  if call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 and ARGV[i + 2] ~= '' then
    call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
  end
end
return {'ok'}
