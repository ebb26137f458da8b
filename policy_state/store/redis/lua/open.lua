-- Creates a policy on first use, or returns what is stored. Atomic, so that of two workers that
-- start together one creates the policy and the other is held against it.
--
-- Where meta went missing and other keys are still there, nothing tells which model their counters belong
-- to, nor whether they were started afresh: so all of them are, and the audit says so. The predictions
-- bring them back. Pins and freezes stay.
--
--   KEYS      meta, wm, gaps, idx, agg, audit (see common.lua)
--   ARGV[1]   audit entries to keep
--   ARGV[2..] field, value, field, value.. of a new policy; none: only look
--
-- Returns {created (0 or 1), {field, value, ..} as stored}.

local meta_key, wm, gaps, idx, agg, audit = unpack(KEYS)
if #ARGV == 1 or call('HEXISTS', meta_key, 'fingerprint') == 1 then
  return {0, call('HGETALL', meta_key)}
end

local now = server_ms()
local function is_there(answer) -- nil: of another type
  return answer == nil or #answer > 0
end
local left = is_there(unless_wrong_type('HGETALL', wm))
  or is_there(unless_wrong_type('HGETALL', agg))
  or is_there(unless_wrong_type('ZREVRANGE', idx, 0, 0))
call('HSET', meta_key, 'created', exact(now), unpack(ARGV, 2))
if left then
  start_afresh(meta_key, agg, wm, gaps, now, readable_marks(wm))
  redis.pcall('XADD', audit, 'MAXLEN', '~', ARGV[1], '*', 'action', 'meta-lost', 'by', 'offramp',
              'automatic', '1', 'detail', '{}', 'reason',
              'meta was missing beside the other keys: all is counted afresh')
end
return {1, call('HGETALL', meta_key)}
