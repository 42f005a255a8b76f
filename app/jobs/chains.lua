-- Parents and children. A running job may plan children, `{parent}.{n}`: it gives its own claim back, stays running, and
-- has no message until they have ended. `window` of them wait or run at a time; every end lets the next one in, and the
-- last end makes the parent's next step due. All of that happens in the move that ends the child, whoever makes it.
--
-- Of a parent's hash: `children` how many it has had in all, `first` the first one of this step, `head` the first that has
-- not ended, `next` the first that has not been let in, `live` let in and not ended, `open` not ended, `failed` ended badly,
-- `follows` '1' where its one child tells how far it is.

local function child_id(parent, n) return parent .. '.' .. n end

-- Whether a message about a job is wanted: it is queued and has been let in, or it is a parent whose step is due.
local function is_announceable(id)
  local state, announce, step, open, token = read(id, 'state', 'announce', 'step', 'open', 'token')
  if state == 'queued' then return announce ~= '0' end
  return state == 'running' and step ~= nil and open == '0' and not token
end

local function admit(id)
  local queue = read(id, 'queue')
  local seq = redis.call('INCR', P .. 'seq') -- its place is behind those who came before: they pass between two children
  redis.call('HSET', job_key(id), 'seq', seq, 'announce', 1)
  redis.call('ZADD', index_key(true, 'queued'), seq, id)
  enqueue(id, queue, seq)
  admitted[#admitted + 1] = id
end

local function fill_window(parent)
  local next, children, live, window = read(parent, 'next', 'children', 'live', 'window')
  next, children, live, window = tonumber(next), tonumber(children), tonumber(live), tonumber(window)
  while next < children and live < window do
    local id = child_id(parent, next)
    if read(id, 'state') == 'queued' then -- one may have been cancelled before it was let in
      admit(id)
      live = live + 1
    end
    next = next + 1
  end
  redis.call('HSET', job_key(parent), 'next', next, 'live', live)
end

local function step_due(parent)
  local seq, queue = read(parent, 'seq', 'queue')
  redis.call('HINCRBY', job_key(parent), 'announce', 1)
  redis.call('HDEL', job_key(parent), 'message')
  enqueue(parent, queue, seq)
  admitted[#admitted + 1] = parent
end

-- How far a parent is, as its record and its stream say it: the average pace since the plan, and the end at that pace.
local function progress_of(parent)
  local done, total, unit, since, stage = read(parent, 'done', 'total', 'unit', 'planned_at', 'stage')
  local progress = { done = tonumber(done), total = tonumber(total), unit = unit, stage = stage }
  local took = now - tonumber(since)
  if progress.done > 0 and took > 0 then
    progress.rate_per_s = tonumber(string.format('%.3f', progress.done / took))
    progress.eta_s = tonumber(string.format('%.1f', math.max(0, progress.total - progress.done) * took / progress.done))
  end
  redis.call('HSET', job_key(parent), 'progress', cjson.encode(progress))
  return { 'done', progress.done, 'total', progress.total, 'unit', unit, 'stage', stage or '',
    'rate_per_s', tostring(progress.rate_per_s or ''), 'eta_s', tostring(progress.eta_s or '') }
end

-- A parent that follows this one is as far as this one is.
local function tell_follower(id)
  local parent = read(id, 'parent')
  if not parent then return end
  local state, attempt, follows = read(parent, 'state', 'attempt', 'follows')
  if state ~= 'running' or follows ~= '1' then return end
  local done, total = read(id, 'done', 'total')
  redis.call('HSET', job_key(parent), 'done', done, 'total', total)
  redis.call('XADD', tok_key(parent), '*', 'type', 'progress', 'attempt', attempt, unpack(progress_of(parent)))
  wake(parent)
end

-- The failure of a parent is its child's, and says which of how many it was.
local function failure_of(parent, id, n, to)
  local error, children = read(id, 'error'), read(parent, 'children')
  local failure = { code = 'job_canceled', message = 'it was cancelled.' }
  if error then failure = cjson.decode(error) end
  failure.message = string.format('Part %d of %s (%s) %s: %s', n + 1, children, id, to == 'failed' and 'failed' or 'was not done', failure.message)
  return cjson.encode(failure)
end

function child_ended(parent, id, to)
  if read(parent, 'kind') == 'batch' then return line_ended(parent, id, to) end
  local state, attempt, next, head, children, on_failure, follows, total =
    read(parent, 'state', 'attempt', 'next', 'head', 'children', 'on_failure', 'follows', 'total')
  if state ~= 'running' then return end -- it has ended, and takes its children with it
  local n, units = read(id, 'number', 'units')
  n, head = tonumber(n), tonumber(head)
  local open = redis.call('HINCRBY', job_key(parent), 'open', -1)
  if n < tonumber(next) then redis.call('HINCRBY', job_key(parent), 'live', -1) end
  while head < tonumber(children) and TERMINAL[read(child_id(parent, head), 'state')] do head = head + 1 end
  redis.call('HSET', job_key(parent), 'head', head)
  if follows == '1' then redis.call('HSET', job_key(parent), 'done', total)
  else redis.call('HINCRBY', job_key(parent), 'done', units) end
  redis.call('XADD', tok_key(parent), '*', 'type', 'child', 'attempt', attempt, 'number', n, 'ended', to, unpack(progress_of(parent)))
  wake(parent)
  tell_follower(parent)
  if to ~= 'succeeded' then redis.call('HINCRBY', job_key(parent), 'failed', 1) end
  if to ~= 'succeeded' and on_failure ~= 'keep' then
    redis.call('HSET', job_key(parent), 'error', failure_of(parent, id, n, to))
    finish(parent, 'running', 'failed', attempt)
    return
  end
  fill_window(parent)
  if open == 0 then step_due(parent) end
end

function cancel_children(parent)
  local first, children = read(parent, 'first', 'children')
  for n = tonumber(first), tonumber(children) - 1 do cancel(child_id(parent, n)) end
end

-- Every child of a step at once, or none: ARGV[3] is the list of them. Repeated, it finds itself done.
function commands.plan()
  local state, token, planned_by, attempt, children, total, deadline, stage, traceparent, owner =
    read(a.id, 'state', 'token', 'planned_by', 'attempt', 'children', 'total', 'deadline', 'stage', 'traceparent', 'owner')
  if not state then return { 'gone' } end
  if planned_by == a.token then return { 'planned' } end
  if state ~= 'running' or token ~= a.token then return { 'stale', state } end
  if a.stage and a.stage ~= stage then
    redis.call('HDEL', job_key(a.id), 'done', 'planned_at')
    redis.call('HSET', job_key(a.id), 'stage', a.stage)
    total = nil
  end
  local specs = cjson.decode(raw)
  local first, units = tonumber(children or 0), 0
  for i, child in ipairs(specs) do
    local n = first + i - 1
    local id = child_id(a.id, n)
    redis.call('HSET', job_key(id), 'id', id, 'parent', a.id, 'number', n, 'units', child.units, 'kind', child.kind, 'model', child.model,
      'lane', child.lane, 'queue', child.queue, 'waited', '0', 'request', child.request, 'seed', child.seed, 'seq', 0,
      'attempt', 0, 'announce', 0, 'charges', 0, 'created_at', now_text)
    if child.blobs then redis.call('HSET', job_key(id), 'blobs', child.blobs) end
    if child.needs then redis.call('HSET', job_key(id), 'needs', child.needs) end
    if deadline then redis.call('HSET', job_key(id), 'deadline', deadline) end
    if traceparent then redis.call('HSET', job_key(id), 'traceparent', traceparent) end
    if owner then redis.call('HSET', job_key(id), 'owner', owner) end
    redis.call('ZADD', index_key(true, 'model:' .. child.model), 0, id)
    move(id, nil, 'queued', 0)
    units = units + child.units
  end
  redis.call('HSET', job_key(a.id), 'planned_by', a.token, 'step', a.step, 'queue', a.queue, 'on_failure', a.on_failure,
    'window', a.window, 'children', first + #specs, 'first', first, 'head', first, 'next', first, 'live', 0, 'open', #specs,
    'unit', a.unit, 'total', a.total or (tonumber(total or 0) + units), 'follows', a.follows and 1 or 0, 'charges', 0)
  redis.call('HSETNX', job_key(a.id), 'done', 0)
  redis.call('HSETNX', job_key(a.id), 'failed', 0)
  redis.call('HSETNX', job_key(a.id), 'planned_at', now_text)
  redis.call('HDEL', job_key(a.id), 'token', 'worker', 'message', 'died_in', 'deaths')
  redis.call('XADD', tok_key(a.id), '*', 'type', 'progress', 'attempt', attempt, unpack(progress_of(a.id)))
  wake(a.id)
  tell_follower(a.id)
  fill_window(a.id)
  return { 'planned' }
end
