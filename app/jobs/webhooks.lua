-- Webhooks. What somebody wants to be told of a job becomes a delivery, in the very move that makes it happen: a job of kind
-- `webhook`, whose request is all that is to be told. No message is ever about it: API processes deliver, under leases.
--
-- Of one job, deliveries are tried in the order of what they tell: `webhooks:of:{job}` is a list of those that are not over, and
-- its first one alone may be tried. `webhooks:due:{receiver}` has those that may be, by when; a receiver is a scheme, host and
-- port. `webhooks` has the receivers, by the first of these times. A delivery that is being tried is due again when the lease of
-- who tries it ends: a dead process's are taken over then, and the number of the attempt fences what it still says of them.

local function due_key(receiver) return P .. 'webhooks:due:' .. receiver end
local function of_key(job) return P .. 'webhooks:of:' .. job end

-- When a delivery may be tried; nil: no more.
local function let_try(id, receiver, at)
  if at then
    redis.call('HSET', job_key(id), 'next_try_at', string.format('%.3f', at))
    redis.call('ZADD', due_key(receiver), at, id)
  else
    redis.call('ZREM', due_key(receiver), id)
  end
  local first = redis.call('ZRANGE', due_key(receiver), 0, 0, 'WITHSCORES')[2]
  if first then redis.call('ZADD', P .. 'webhooks', first, receiver) else redis.call('ZREM', P .. 'webhooks', receiver) end
end

-- The first delivery of a job that is not over may be tried, unless it has been let already.
local function let_first_try(job)
  local id = redis.call('LINDEX', of_key(job), 0)
  if not id then return end
  local receiver, since = read(id, 'receiver', 'next_try_at')
  if not since then let_try(id, receiver, now) end
end

-- A new delivery takes its place behind the earlier ones of its job.
local function line_up(id, told)
  redis.call('HSET', job_key(id), 'about', told.job, 'event', told.event, 'receiver', told.receiver)
  redis.call('RPUSH', of_key(told.job), id)
  let_first_try(told.job)
end

function delivery_ended(id)
  local job, receiver = read(id, 'about', 'receiver')
  let_try(id, receiver, nil)
  redis.call('LREM', of_key(job), 1, id)
  let_first_try(job)
end

local EVENTS = { running = 'started', succeeded = 'completed', failed = 'failed', canceled = 'canceled' }

-- A job came into a state. Each event has one delivery, whose id follows from both: it is as hard to guess as the job's.
function tell(id, hook, to, attempt)
  local event = EVENTS[to]
  if not event or (event == 'started' and tonumber(attempt) ~= 1) then return end -- a job that was rescued or drained starts once
  local kind, model, owner, error, retry_of, settled = read(id, 'kind', 'model', 'owner', 'error', 'retry_of', 'settled_at')
  if kind == 'batch' and TERMINAL[to] and not settled then return end -- its results are still to be written
  hook = cjson.decode(hook)
  local is_wanted = false
  for _, each in ipairs(hook.events) do is_wanted = is_wanted or each == event end
  if not is_wanted then return end
  local hex = string.sub(redis.sha1hex(id .. ' ' .. event), 1, 24)
  local delivery, seq = 'job_' .. hex, redis.call('INCR', P .. 'seq')
  local told = { id = 'evt_' .. hex, event = event, at = math.floor(now), job = id, kind = kind, model = model, state = to,
    retry_of = retry_of, url = hook.url, receiver = hook.receiver }
  if error and (to == 'failed' or to == 'canceled') then told.error = cjson.decode(error) end
  redis.call('HSET', job_key(delivery), 'id', delivery, 'kind', 'webhook', 'model', 'none', 'lane', 'batch', 'queue', 'webhook',
    'waited', '0', 'request', cjson.encode(told), 'seed', '0', 'seq', seq, 'attempt', 0, 'announce', 0, 'charges', 0,
    'created_at', now_text)
  if owner then
    redis.call('HSET', job_key(delivery), 'owner', owner)
    redis.call('ZADD', P .. 'jobs:owner:' .. owner, seq, delivery)
  end
  move(delivery, nil, 'queued', 0)
  line_up(delivery, told)
end

-- Take deliveries that are due: at most `most`, and of one receiver at most `most_each`, with those that the caller has of it
-- under way already, `busy`. Said are of each its id, attempt, age in seconds and request.
function commands.webhook_take()
  local taken, left = {}, a.most
  for _, receiver in ipairs(redis.call('ZRANGEBYSCORE', P .. 'webhooks', '-inf', now, 'LIMIT', 0, 100)) do
    local room = math.max(0, math.min(left, a.most_each - (a.busy[receiver] or 0)))
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_key(receiver), '-inf', now, 'LIMIT', 0, room)) do
      local state, attempt, created, request = read(id, 'state', 'attempt', 'created_at', 'request')
      attempt = tonumber(attempt) + 1
      redis.call('HSET', job_key(id), 'attempt', attempt)
      redis.call('HSETNX', job_key(id), 'started_at', now_text)
      if state == 'queued' then move(id, 'queued', 'running', attempt) end -- else it was a dead process's
      let_try(id, receiver, now + a.lease)
      for _, fact in ipairs({ id, attempt, string.format('%.3f', now - created), request }) do taken[#taken + 1] = fact end
      left = left - 1
    end
  end
  return taken
end

-- What came of a try: the state in which the delivery ends, or a wait after which it is tried again.
-- `raw` is the output of one that succeeded.
function commands.webhook_tried()
  local state, attempt, receiver = read(a.id, 'state', 'attempt', 'receiver')
  if state ~= 'running' or attempt ~= tostring(a.attempt) then return { 'stale' } end
  if a.error then redis.call('HSET', job_key(a.id), 'error', a.error) end
  if a.ended == 'succeeded' then
    redis.call('HDEL', job_key(a.id), 'error')
    redis.call('HSET', job_key(a.id), 'output', raw)
  end
  if a.ended then
    finish(a.id, 'running', a.ended, attempt)
  else
    move(a.id, 'running', 'queued', attempt)
    let_try(a.id, receiver, now + a.wait)
  end
  return { 'ok' }
end
