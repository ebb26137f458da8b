-- Shows a worker as alive for a while.
--
--   KEYS[1]   offramp:worker:<instance>   HASH   expires
--   ARGV[1]   for how long, ms
--   ARGV[2..] field, value..
--
-- Returns when it expires, ms by this server's clock.

call('DEL', KEYS[1])
call('HSET', KEYS[1], unpack(ARGV, 2))
call('PEXPIRE', KEYS[1], ARGV[1])
return exact(server_ms() + tonumber(ARGV[1]))
