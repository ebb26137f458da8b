-- Brings the routes of a group back, if they are still what they were when they were found lost.
--
--   KEYS[1]   offramp:{routes:<group>}:table (see common.lua)
--   ARGV      the revision that was found, 0: none; the revision that comes back; its routes, JSON
--
-- Returns 1 where they were written, 0 where somebody changed them meanwhile.

if (call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then return 0 end
call('HSET', KEYS[1], 'revision', ARGV[2], 'routes', ARGV[3])
return 1
