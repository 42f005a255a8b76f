-- Every move of a job. One script call is one transaction: the state, the
-- indexes, the job's stream and the event log change together or not at all.
--
--   KEYS[1]  key prefix ("mlx:")
--   ARGV[1]  command, a name of the table at the end
--   ARGV[2]  its arguments, a JSON object
--   ARGV[3]  one raw value that is not worth quoting into JSON (request, output, text)
--
-- Every command may be repeated by a caller that lost the answer: ids and
-- tokens come from the caller, and a second call finds the move already made.
-- Times are Redis TIME, in seconds.

local P = KEYS[1]
local a = cjson.decode(ARGV[2])
local raw = ARGV[3]

local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local now_text = string.format('%.3f', now)
local TERMINAL = { succeeded = true, failed = true, canceled = true }

local function job_key(id) return P .. 'job:' .. id end
local function tok_key(id) return P .. 'tok:' .. id end
local function queue_key(queue) return P .. 'queue:' .. queue end
local function waiters_key(id) return P .. 'waiters:' .. id end
local function wake(id) redis.call('PUBLISH', P .. 'wake', id) end

local function read(id, ...)
  local found = redis.call('HMGET', job_key(id), ...)
  for i = 1, #found do if found[i] == false then found[i] = nil end end
  return unpack(found, 1, select('#', ...))
end

-- The one place where a state changes.
local function move(id, from, to, attempt)
  local kind, model, lane, seq = read(id, 'kind', 'model', 'lane', 'seq')
  if from then redis.call('ZREM', P .. 'jobs:' .. from, id) end
  redis.call('ZADD', P .. 'jobs:' .. to, seq, id)
  redis.call('HSET', job_key(id), 'state', to)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', '10000', '*',
    'job', id, 'state', to, 'kind', kind, 'model', model, 'lane', lane, 'attempt', attempt)
  if from then redis.call('XADD', tok_key(id), '*', 'type', 'state', 'state', to, 'attempt', attempt) end
  wake(id)
end

local function finish(id, from, to, attempt)
  local kind, queue, waited, idem = read(id, 'kind', 'queue', 'waited', 'idem')
  redis.call('HSET', job_key(id), 'finished_at', now_text)
  move(id, from, to, attempt)
  redis.call('ZREM', queue_key(queue), id)
  redis.call('ZREM', P .. 'unannounced', id)
  redis.call('ZREM', P .. 'lingering', id)
  redis.call('ZREM', P .. 'deadlines', id)
  redis.call('EXPIRE', tok_key(id), a.keep_tok or 300)
  redis.call('ZADD', P .. 'ended:' .. (waited == '1' and 'waited' or 'submitted'), now_text, id)
  -- A failed or cancelled job frees its idempotency key: the retry is a new job. So does any download: its files may be removed.
  if idem and (to ~= 'succeeded' or kind == 'download') and redis.call('HGET', idem, 'job') == id then redis.call('DEL', idem) end
end

local function enqueue(id, queue, seq)
  redis.call('SADD', P .. 'queues', queue)
  redis.call('ZADD', queue_key(queue), seq, id)
  redis.call('ZADD', P .. 'unannounced', now_text, id)
end

local function attach(id, waiter, lease)
  redis.call('ZADD', waiters_key(id), now + lease, waiter)
  redis.call('EXPIRE', waiters_key(id), 3600)
  redis.call('ZREM', P .. 'lingering', id)
end

-- From now on the job is a submitted one: nobody's leaving cancels it.
local function outlive_waiters(id)
  redis.call('ZREM', P .. 'lingering', id)
  if read(id, 'waited') ~= '1' then return end
  redis.call('HSET', job_key(id), 'waited', '0')
  if redis.call('ZREM', P .. 'ended:waited', id) == 1 then redis.call('ZADD', P .. 'ended:submitted', now_text, id) end
end

local function cancel(id)
  local state, attempt = read(id, 'state', 'attempt')
  if not state then return { 'gone' } end
  if TERMINAL[state] then return { 'terminal', state } end
  finish(id, state, 'canceled', attempt)
  redis.call('PUBLISH', P .. 'control', 'cancel ' .. id)
  return { 'canceled' }
end

-- Too late: cancelled, and the record says why.
local function expire(id)
  redis.call('HSET', job_key(id), 'error', a.late)
  return cancel(id)
end

local commands = {}

function commands.submit()
  if redis.call('EXISTS', job_key(a.id)) == 1 then return { 'created', a.id } end
  if a.idem then
    local id, digest = unpack(redis.call('HMGET', a.idem, 'job', 'digest'))
    if id and redis.call('EXISTS', job_key(id)) == 1 then
      if digest ~= a.digest then return { 'conflict' } end
      if a.waiter then attach(id, a.waiter, a.lease)
      elseif a.waited == '0' then outlive_waiters(id) -- this caller gets a receipt, and a receipt is kept
      else redis.call('ZADD', P .. 'lingering', 'XX', now + a.linger, id) end
      return { 'joined', id }
    end
  end
  if redis.call('ZCARD', P .. 'jobs:queued') >= a.max_queued then return { 'full' } end
  local seq = redis.call('INCR', P .. 'seq')
  redis.call('HSET', job_key(a.id), 'id', a.id, 'kind', a.kind, 'model', a.model, 'lane', a.lane, 'queue', a.queue,
    'waited', a.waited, 'request', raw, 'seed', a.seed, 'seq', seq, 'attempt', 0, 'announce', 1, 'charges', 0,
    'created_at', now_text)
  if a.retry_of then redis.call('HSET', job_key(a.id), 'retry_of', a.retry_of) end
  if a.idem then
    redis.call('HSET', a.idem, 'job', a.id, 'digest', a.digest)
    redis.call('EXPIRE', a.idem, a.idem_ttl)
    redis.call('HSET', job_key(a.id), 'idem', a.idem)
  end
  if a.deadline then
    redis.call('HSET', job_key(a.id), 'deadline', a.deadline)
    redis.call('ZADD', P .. 'deadlines', a.deadline, a.id)
  end
  redis.call('ZADD', P .. 'jobs:model:' .. a.model, seq, a.id)
  move(a.id, nil, 'queued', 0)
  enqueue(a.id, a.queue, seq)
  if a.waiter then attach(a.id, a.waiter, a.lease) end
  return { 'created', a.id }
end

-- The message is in the broker. Its number may have moved on meanwhile: then it is not this record's message any more.
function commands.announced()
  if read(a.id, 'announce') ~= tostring(a.announce) then return { 'stale' } end
  redis.call('HSET', job_key(a.id), 'message', a.message)
  redis.call('ZREM', P .. 'unannounced', a.id)
  return { 'ok' }
end

function commands.claim()
  local state, announce, token, attempt, queue = read(a.id, 'state', 'announce', 'token', 'attempt', 'queue')
  if not state then return { 'gone' } end
  if not (state == 'running' and token == a.token) then
    if state ~= 'queued' or announce ~= tostring(a.announce) then return { 'stale', state } end
    local deadline = read(a.id, 'deadline')
    if deadline and tonumber(deadline) <= now then return expire(a.id) end
    attempt = tonumber(attempt) + 1
    redis.call('HSET', job_key(a.id), 'attempt', attempt, 'token', a.token, 'worker', a.worker, 'started_at', now_text)
    redis.call('ZREM', queue_key(queue), a.id)
    redis.call('ZREM', P .. 'unannounced', a.id)
    move(a.id, 'queued', 'running', attempt)
  end
  return { 'claimed', redis.call('HGETALL', job_key(a.id)) }
end

function commands.publish()
  local state, token, attempt = read(a.id, 'state', 'token', 'attempt')
  if state ~= 'running' or token ~= a.token then return { 'stale', state } end
  if a.ids then
    local entry = { 'type', 'tokens', 'attempt', attempt, 'ids', a.ids, 'text', raw }
    for _, field in ipairs({ 'choice', 'logprobs' }) do
      if a[field] then entry[#entry + 1] = field; entry[#entry + 1] = a[field] end
    end
    redis.call('XADD', tok_key(a.id), '*', unpack(entry))
  end
  if a.done then
    redis.call('HSET', job_key(a.id), 'progress',
      cjson.encode({ done = a.done, total = a.total, unit = a.unit, rate_per_s = a.rate_per_s, eta_s = a.eta_s }))
    if a.announce_progress then
      redis.call('XADD', tok_key(a.id), '*', 'type', 'progress', 'attempt', attempt,
        'done', a.done, 'total', a.total or '', 'unit', a.unit, 'rate_per_s', a.rate_per_s or '', 'eta_s', a.eta_s or '')
    end
  end
  wake(a.id)
  return { 'ok' }
end

function commands.commit()
  local state, token, attempt = read(a.id, 'state', 'token', 'attempt')
  if not state then return { 'gone' } end
  if token ~= a.token then return { 'stale', state } end
  if state ~= 'running' then return { TERMINAL[state] and state ~= 'canceled' and 'committed' or 'stale', state } end
  if a.usage then redis.call('HSET', job_key(a.id), 'usage', a.usage) end
  if a.error then redis.call('HSET', job_key(a.id), 'error', a.error) end
  if a.blob then redis.call('HSET', job_key(a.id), 'blob', a.blob) end
  if raw ~= '' then redis.call('HSET', job_key(a.id), 'output', raw) end
  redis.call('HINCRBY', job_key(a.id), 'commits', 1)
  finish(a.id, 'running', a.state, attempt)
  return { 'committed' }
end

-- A queued job that can never run: its model could not be had.
function commands.refuse()
  local state, attempt = read(a.id, 'state', 'attempt')
  if state ~= 'queued' then return { 'stale', state } end
  redis.call('HSET', job_key(a.id), 'error', a.error)
  finish(a.id, 'queued', 'failed', attempt)
  return { 'refused' }
end

-- Back to the queue, by drain or rescue. A charge is for a job that was being stepped when its worker
-- died, unless this attempt has published anything: such a job ends in bounded time all the same.
function commands.release()
  local state, token, attempt, queue, seq, announce = read(a.id, 'state', 'token', 'attempt', 'queue', 'seq', 'announce')
  if not state then return { 'gone' } end
  if state ~= 'running' or token ~= a.token then return { 'stale', state } end
  local charged = a.charge
  if charged then
    for _, entry in ipairs(redis.call('XREVRANGE', tok_key(a.id), '+', '-', 'COUNT', 1)) do
      local f = {}
      for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
      if f.type ~= 'state' and f.attempt == attempt then charged = false end
    end
  end
  if charged then
    local charges = redis.call('HINCRBY', job_key(a.id), 'charges', 1)
    if charges >= a.max_charges then
      redis.call('HSET', job_key(a.id), 'error', a.error)
      finish(a.id, 'running', 'failed', attempt)
      return { 'failed' }
    end
    queue = a.quarantine
    redis.call('HSET', job_key(a.id), 'queue', queue)
  end
  announce = tonumber(announce) + 1
  redis.call('HSET', job_key(a.id), 'announce', announce)
  redis.call('HDEL', job_key(a.id), 'token', 'worker', 'message')
  move(a.id, 'running', 'queued', attempt)
  enqueue(a.id, queue, seq)
  return { 'requeued', queue, announce }
end

-- The message of a queued job was lost: announce it again under a new number.
function commands.reannounce()
  local state, message, queue, seq = read(a.id, 'state', 'message', 'queue', 'seq')
  if state ~= 'queued' or message ~= a.message then return { 'stale', state } end
  redis.call('HINCRBY', job_key(a.id), 'announce', 1)
  redis.call('HDEL', job_key(a.id), 'message')
  enqueue(a.id, queue, seq)
  return { 'ok' }
end

function commands.cancel() return cancel(a.id) end

function commands.attach()
  if redis.call('EXISTS', job_key(a.id)) == 0 then return { 'gone' } end
  attach(a.id, a.waiter, a.lease)
  return { 'ok' }
end

function commands.renew()
  for _, lease in ipairs(a.leases) do
    redis.call('ZADD', waiters_key(lease[1]), 'XX', now + a.lease, lease[2])
    redis.call('EXPIRE', waiters_key(lease[1]), 3600)
  end
  return { 'ok' }
end

-- A waiter hung up. The job of nobody is cancelled: at once, or after a while for a retry to join by its key.
function commands.detach()
  redis.call('ZREM', waiters_key(a.id), a.waiter)
  redis.call('ZREMRANGEBYSCORE', waiters_key(a.id), '-inf', now)
  local state, waited, idem = read(a.id, 'state', 'waited', 'idem')
  if not state or TERMINAL[state] or waited ~= '1' then return { 'ok' } end
  if redis.call('ZCARD', waiters_key(a.id)) > 0 then return { 'ok' } end
  if idem then
    redis.call('ZADD', P .. 'lingering', now + a.linger, a.id)
    return { 'lingering' }
  end
  return cancel(a.id)
end

-- A waiter went away with a receipt instead of an answer.
function commands.keep()
  if not read(a.id, 'state') then return { 'gone' } end
  outlive_waiters(a.id)
  redis.call('ZREM', waiters_key(a.id), a.waiter)
  return { 'ok' }
end

function commands.expire_lingering()
  local due = redis.call('ZRANGEBYSCORE', P .. 'lingering', '-inf', now, 'LIMIT', 0, 100)
  for _, id in ipairs(due) do
    redis.call('ZREM', P .. 'lingering', id)
    cancel(id)
  end
  return due
end

function commands.expire_deadlines()
  local due = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, 100)
  for _, id in ipairs(due) do
    redis.call('ZREM', P .. 'deadlines', id)
    expire(id)
  end
  return due
end

-- Remove a finished job and every trace of it in Redis.
function commands.forget()
  local state, model, idem, blob = read(a.id, 'state', 'model', 'idem', 'blob')
  redis.call('ZREM', P .. 'ended:waited', a.id)
  redis.call('ZREM', P .. 'ended:submitted', a.id)
  if not state then return { 'gone' } end
  if not TERMINAL[state] then return { 'busy' } end
  redis.call('ZREM', P .. 'jobs:' .. state, a.id)
  redis.call('ZREM', P .. 'jobs:model:' .. model, a.id)
  if idem and redis.call('HGET', idem, 'job') == a.id then redis.call('DEL', idem) end
  redis.call('DEL', job_key(a.id), tok_key(a.id), waiters_key(a.id))
  return { 'forgotten', blob or '' }
end

return commands[ARGV[1]]()
