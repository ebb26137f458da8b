-- Writes where a consumer group begins, if none of its workers has done so. Atomic, so that a group
-- begins in all partitions at once, and once.
--
--   KEYS[1]   positions   HASH   see common.lua
--   ARGV      "<topic id>/<partition>", offset, ..
--
-- Returns 1 where it was written, 0 where the group had begun.

if call('HEXISTS', KEYS[1], 'began') == 1 then return 0 end
call('HSET', KEYS[1], 'began', exact(server_ms()))
for i = 1, #ARGV, 2 do call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
