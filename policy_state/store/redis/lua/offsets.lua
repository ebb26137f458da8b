-- The offsets of a partition: which are counted, which are in gaps, and what a part may still add.

local GAPS_MAX = 1000

-- Returns ranges of offsets as text: "5-9 12-20".
local function ranges(pieces)
  local texts = {}
  for i, piece in ipairs(pieces) do texts[i] = exact(piece[1]) .. '-' .. exact(piece[2]) end
  return concat(texts, ' ')
end

-- Returns the gaps of a mark, read when first asked for; nil and what is wrong.
local function gaps_of(gaps_key, source, mark)
  if not mark.gaps then
    mark.gaps = {}
    local text = call('HGET', gaps_key, source) or ''
    mark.had_gaps = text ~= ''
    for gap in gmatch(text, '[^ ]+') do
      local first, following = match(gap, '^(%d+)%-(%d+)$')
      first, following = count_in(first or ''), count_in(following or '')
      if not (first and following and first < following) then
        return nil, {'corrupt', gaps_key, source, text}
      end
      mark.gaps[#mark.gaps + 1] = {first, following}
    end
  end
  return mark.gaps
end

-- Keeps as many gaps as there may be; what is dropped stays uncounted.
local function set_gaps(mark, gaps)
  while #gaps > GAPS_MAX do
    local smallest = 1
    for i, gap in ipairs(gaps) do
      if gap[2] - gap[1] < gaps[smallest][2] - gaps[smallest][1] then smallest = i end
    end
    mark.dropped = (mark.dropped or 0) + gaps[smallest][2] - gaps[smallest][1]
    table.remove(gaps, smallest)
  end
  mark.gaps, mark.gaps_changed = gaps, true
end

-- Returns status, gap opened, pieces missing of a part; nil and what is wrong.
local function judge(gaps_key, source, mark, first, following)
  local opened = 0
  if first >= mark.upto then
    if mark.lost then -- nobody knows what below was counted, nor whether this was
      mark.upto, mark.moved = following, true
      return 'duplicate', 0, ''
    end
    if first > mark.upto then
      local gaps, problem = gaps_of(gaps_key, source, mark)
      if not gaps then return nil, problem end
      gaps[#gaps + 1] = {mark.upto, first}
      set_gaps(mark, gaps)
      if mark.was then opened = first - mark.upto end
    end
    mark.upto, mark.moved = following, true
    return 'applied', opened, ''
  end
  local missing = {}
  local function take(low, high)
    local start, stop = math.max(low, first), math.min(high, following)
    if start >= stop then return end
    local last = missing[#missing]
    if last and last[2] == start then last[2] = stop else missing[#missing + 1] = {start, stop} end
  end
  local gaps, problem = gaps_of(gaps_key, source, mark)
  if not gaps then return nil, problem end
  for _, gap in ipairs(gaps) do take(gap[1], gap[2]) end
  take(mark.upto, following)
  if #missing == 0 then return 'duplicate', 0, '' end
  if #missing > 1 or missing[1][1] ~= first or missing[1][2] ~= following then
    return 'overlap', 0, ' ' .. ranges(missing)
  end
  local left = {}
  for _, gap in ipairs(gaps) do
    if gap[1] < first then left[#left + 1] = {gap[1], math.min(gap[2], first)} end
    if gap[2] > following then left[#left + 1] = {math.max(gap[1], following), gap[2]} end
  end
  set_gaps(mark, left)
  mark.upto, mark.moved = math.max(mark.upto, following), true
  return 'applied', 0, ''
end

-- Writes what `judge` has moved.
local function write_mark(wm, gaps_key, source, mark)
  if not mark.moved then return end
  call('HSET', wm, source, exact(mark.upto))
  if not mark.gaps_changed then return end
  if #mark.gaps > 0 then
    call('HSET', gaps_key, source, ranges(mark.gaps))
  else
    call('HDEL', gaps_key, source)
  end
end

