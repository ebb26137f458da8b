-- Brings the routes of a group back, if they are still what they were when they were found lost, and
-- if the history tells of no later change than the one that made them: who knows that one, knows them.
--
--   KEYS      offramp:{routes:<group>}:table, offramp:{routes:<group>}:audit (see common.lua)
--   ARGV[1]   the revision that was found, 0: none
--   ARGV[2]   the revision that comes back
--   ARGV[3]   its routes, JSON
--   ARGV[4]   1: also where the history tells of a later one
--   ARGV[5]   entries of the history to keep
--   ARGV[6..] field, value.. of the entry that tells of it; none: it is told elsewhere
--
-- Returns 1 where they were written, 0 where somebody else changed them or has to bring them back.

local routes, audit = unpack(KEYS)

if (call('HGET', routes, 'revision') or '0') ~= ARGV[1] then return 0 end
if ARGV[4] ~= '1' and latest_revision(audit) > tonumber(ARGV[2]) then return 0 end
if #ARGV > 5 then
  call('XADD', audit, 'MAXLEN', '~', ARGV[5], '*', 'revision', ARGV[2], unpack(ARGV, 6))
end
call('HSET', routes, 'revision', ARGV[2], 'routes', ARGV[3])
return 1
