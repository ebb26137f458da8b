-- Creates a policy on first use, or returns what is stored. Atomic, so that of two workers that
-- start together one creates the policy and the other is held against it.
--
--   KEYS[1]   meta   HASH   see common.lua
--   ARGV      field, value, field, value.. of a new policy; none: only look
--
-- Returns {created (0 or 1), {field, value, ..} as stored}.

local created = 0
if #ARGV > 0 and call('HEXISTS', KEYS[1], 'fingerprint') == 0 then
  call('HSET', KEYS[1], 'created', exact(server_ms()), unpack(ARGV))
  created = 1
end
return {created, call('HGETALL', KEYS[1])}
