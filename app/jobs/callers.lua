-- What callers do with jobs, and what time does to them.

function commands.submit()
  if redis.call('EXISTS', job_key(a.id)) == 1 then return { 'created', a.id } end
  if a.idem then
    local id, digest = unpack(redis.call('HMGET', a.idem, 'job', 'digest'))
    if id and redis.call('EXISTS', job_key(id)) == 1 then
      if digest ~= a.digest then return { 'conflict' } end
      if a.waiter then attach(id, a.waiter, a.lease)
      elseif a.waited == '0' then outlive_waiters(id) -- this caller gets a receipt, and a receipt is kept
      else redis.call('ZADD', P .. 'lingering', 'XX', now + a.linger, id) end
      if a.webhook then redis.call('HSETNX', job_key(id), 'webhook', a.webhook) end -- of a download that others asked for
      return { 'joined', id }
    end
  end
  -- Receivers that are away keep no job out but those that somebody wants to be told of.
  local of = (a.webhook or a.kind == 'webhook') and { 'jobs:queued', 'deliveries:queued' } or { 'jobs:queued' }
  for _, each in ipairs(of) do
    if redis.call('ZCARD', P .. each) >= a.max_queued then return { 'full' } end
  end
  local seq = redis.call('INCR', P .. 'seq')
  local has_message = a.kind ~= 'batch' and a.kind ~= 'webhook' -- no message is ever about these: API processes see to them
  redis.call('HSET', job_key(a.id), 'id', a.id, 'kind', a.kind, 'model', a.model, 'lane', a.lane, 'queue', a.queue,
    'waited', a.waited, 'request', raw, 'seed', a.seed, 'seq', seq, 'attempt', 0, 'announce', has_message and 1 or 0, 'charges', 0,
    'created_at', now_text)
  if a.lasts_s then
    a.deadline = now + a.lasts_s
    redis.call('HSET', job_key(a.id), 'lasts_s', a.lasts_s)
  end
  if a.stored then redis.call('HSET', job_key(a.id), 'stored', a.stored) end
  if a.blobs then redis.call('HSET', job_key(a.id), 'blobs', a.blobs) end
  if a.home then redis.call('HSET', job_key(a.id), 'home', a.home) end
  if a.needs then redis.call('HSET', job_key(a.id), 'needs', a.needs) end
  if a.retry_of then redis.call('HSET', job_key(a.id), 'retry_of', a.retry_of) end
  if a.traceparent then redis.call('HSET', job_key(a.id), 'traceparent', a.traceparent) end
  if a.webhook then redis.call('HSET', job_key(a.id), 'webhook', a.webhook) end
  if a.owner then
    redis.call('HSET', job_key(a.id), 'owner', a.owner)
    redis.call('ZADD', P .. 'jobs:owner:' .. a.owner, seq, a.id)
  end
  if a.idem then
    redis.call('HSET', a.idem, 'job', a.id, 'digest', a.digest)
    redis.call('EXPIRE', a.idem, a.idem_ttl)
    redis.call('HSET', job_key(a.id), 'idem', a.idem)
  end
  if a.deadline then
    redis.call('HSET', job_key(a.id), 'deadline', a.deadline)
    redis.call('ZADD', P .. 'deadlines', a.deadline, a.id)
  end
  if a.kind ~= 'webhook' then redis.call('ZADD', P .. 'jobs:model:' .. a.model, seq, a.id) end
  move(a.id, nil, 'queued', 0)
  if has_message then enqueue(a.id, a.queue, seq) end
  if a.kind == 'batch' then redis.call('ZADD', P .. 'batches', seq, a.id) end
  if a.kind == 'webhook' then line_up(a.id, cjson.decode(raw)) end -- told anew
  if a.waiter then attach(a.id, a.waiter, a.lease) end
  return { 'created', a.id }
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

-- One more request of a caller: at most `a.most` in `a.window_s` seconds, on average and at once. The key holds the moment at
-- which the allowance is whole again (the generic cell rate algorithm), so a caller costs one number. Said is the wait.
function commands.spend()
  local key = P .. 'rate:' .. a.caller
  local whole = math.max(now, tonumber(redis.call('GET', key) or 0)) + a.window_s / a.most
  local wait = whole - now - a.window_s
  if wait > 1e-6 then return { 'wait', string.format('%.6f', wait) } end
  redis.call('SET', key, string.format('%.6f', whole), 'PX', math.ceil((whole - now) * 1000))
  return { 'spent', '0' }
end

-- Remove a job and every trace of it in Redis, its children first, at most `left` of them. `held` gets those that held
-- something in the spool, each with the one blob that it held; '': there may be several. Returns how many more may go; nil: some
-- are left.
function erase(id, left, held)
  local of, kind, model, owner, idem, up, blob, blobs, children, holds =
    read(id, 'state', 'kind', 'model', 'owner', 'idem', 'parent', 'blob', 'blobs', 'children', 'holds')
  if not of then return left end
  for n = tonumber(children or 0) - 1, 0, -1 do
    left = left > 0 and erase(id .. '.' .. n, left, held) or nil
    if not left then return nil end
    redis.call('HSET', job_key(id), 'children', n)
  end
  if left <= 0 then return nil end
  stand(kind, of)
  redis.call('ZREM', index_key(up, of, kind), id)
  redis.call('ZREM', index_key(up, 'model:' .. model), id)
  if owner then redis.call('ZREM', P .. 'jobs:owner:' .. owner, id) end
  redis.call('ZREM', P .. 'ended:waited', id)
  redis.call('ZREM', P .. 'ended:submitted', id)
  if idem and redis.call('HGET', idem, 'job') == id then redis.call('DEL', idem) end
  redis.call('DEL', job_key(id), tok_key(id), waiters_key(id))
  if blob or children or (blobs and (holds or not up)) then
    held[#held + 1] = id
    held[#held + 1] = not (children or blobs) and blob or ''
  end
  return left - 1
end

-- Remove a finished job: at most `a.at_most` jobs a call, because Redis does nothing else meanwhile.
function commands.forget()
  local state, parent, kind, settled = read(a.id, 'state', 'parent', 'kind', 'settled_at')
  if not state then
    redis.call('ZREM', P .. 'ended:waited', a.id)
    redis.call('ZREM', P .. 'ended:submitted', a.id)
    return { 'gone' }
  end
  if not TERMINAL[state] or (parent and redis.call('EXISTS', job_key(parent)) == 1) then return { 'busy' } end
  if kind == 'batch' and not settled then return { 'busy' } end -- its results are still to be written
  local held = {}
  local is_gone = erase(a.id, a.at_most, held)
  return { is_gone and 'forgotten' or 'more', unpack(held) }
end
