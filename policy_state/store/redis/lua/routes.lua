-- Replaces the routes of a group, if they are still at the revision that the change starts from, and
-- writes who did it and why to their history; once, however often the same call arrives.
--
--   KEYS      offramp:{routes:<group>}:table, offramp:{routes:<group>}:audit (see common.lua)
--   ARGV[1]   token of this change
--   ARGV[2]   entries of the history to keep
--   ARGV[3]   the revision that the change starts from
--   ARGV[4]   the new routes, JSON
--   ARGV[5..] field, value.. of the entry
--
-- Returns one of
--   {'ok', revision now}
--   {'conflict', revision in force}
--   {'corrupt', key, field, value}

local routes, audit = unpack(KEYS)

local text = call('HGET', routes, 'revision') or '0'
local revision = count_in(text)
if not revision then return {'corrupt', routes, 'revision', text} end

if told(audit, 'token', ARGV[1]) then return {'ok', text} end
if text ~= ARGV[3] then return {'conflict', text} end

-- Raises, before anything changes, for a user who may not write it.
call('HSET', routes, 'revision', text, 'routes', call('HGET', routes, 'routes') or '[]')
local new = exact(math.max(revision, latest_revision(audit)) + 1) -- never one that was there before
call('XADD', audit, 'MAXLEN', '~', ARGV[2], '*', 'token', ARGV[1], 'revision', new, unpack(ARGV, 5))
call('HSET', routes, 'revision', new, 'routes', ARGV[4])
return {'ok', new}
