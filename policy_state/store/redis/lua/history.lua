-- Brings entries back into an audit that lost them, each under its old id, and notes that it did.
--
--   KEYS[1]   STREAM: the audit of a policy, or the history of routes (see common.lua)
--   ARGV[1]   entries to keep
--   ARGV[2]   JSON [[id, [field, value, ..]]..]
--   ARGV[3..] field, value.. of the entry that tells of it
--
-- Returns how many were brought back. A stream takes entries in order only, so it is written anew.

local stream = KEYS[1]
local entries, known = {}, {}
local function take(id, fields)
  if known[id] then return end
  local ms, seq = match(id, '^(%d+)-(%d+)$')
  known[id] = true
  entries[#entries + 1] = {id, fields, tonumber(ms), tonumber(seq)}
end

for _, entry in ipairs(call('XREVRANGE', stream, '+', '-')) do take(entry[1], entry[2]) end
local before = #entries
for _, entry in ipairs(cjson.decode(ARGV[2])) do take(entry[1], entry[2]) end
if #entries == before then return 0 end
table.sort(entries, function(a, b) return a[3] < b[3] or a[3] == b[3] and a[4] < b[4] end)
call('XADD', stream, 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3)) -- raises before anything goes
call('DEL', stream)
for i = math.max(1, #entries - tonumber(ARGV[1]) + 2), #entries do
  call('XADD', stream, entries[i][1], unpack(entries[i][2]))
end
call('XADD', stream, '*', unpack(ARGV, 3)) -- after the others, whatever this server's clock says
return #entries - before
