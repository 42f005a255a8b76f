-- What workers do with jobs: announce, claim, publish, end, give back. (Planning children is in chains.lua.)

-- The message is in the broker. Its number may have moved on meanwhile: then it is not this record's message any more.
function commands.announced()
  if read(a.id, 'announce') ~= tostring(a.announce) then return { 'stale' } end
  redis.call('HSET', job_key(a.id), 'message', a.message)
  redis.call('ZREM', P .. 'unannounced', a.id)
  return { 'ok' }
end

-- What a message about this job must say. A job that wants none is struck from those to announce.
function commands.to_announce()
  if not is_announceable(a.id) then
    redis.call('ZREM', P .. 'unannounced', a.id)
    return { 'unwanted' }
  end
  return { 'wanted', read(a.id, 'queue', 'announce') }
end

-- Why this worker must not take a job: `speaks` is the version of work that it knows, `leaves` has the models that other
-- workers can run and it cannot: for lack of 'files', or of 'room' for the weights, which a count of tokens does not need.
local function unfit(queue, needs, kind, model)
  if tonumber(needs or 1) > (a.speaks or 1) then return 'too_new' end
  local lacks = a.leaves and a.leaves[model]
  local needs_model = queue ~= a.chains and kind ~= 'download' and not (kind == 'count' and lacks == 'room')
  return lacks and needs_model and 'elsewhere' or nil
end

-- It stays where it is in its queue, under a new number: whoever was here announces it for others.
local function hand_back(id, queue)
  redis.call('HINCRBY', job_key(id), 'announce', 1)
  redis.call('HDEL', job_key(id), 'message')
  enqueue(id, queue, read(id, 'seq'))
end

function commands.claim()
  local state, announce, token, attempt, queue, needs, kind, model =
    read(a.id, 'state', 'announce', 'token', 'attempt', 'queue', 'needs', 'kind', 'model')
  if not state then return { 'gone' } end
  if not (state == 'running' and token == a.token) then
    if not is_announceable(a.id) or announce ~= tostring(a.announce) then return { 'stale', state } end
    local deadline = read(a.id, 'deadline')
    if deadline and tonumber(deadline) <= now then return expire(a.id) end
    local why = unfit(queue, needs, kind, model)
    if why then
      hand_back(a.id, queue)
      return { why, queue, needs or '1' }
    end
    attempt = tonumber(attempt) + 1
    redis.call('HSET', job_key(a.id), 'attempt', attempt, 'token', a.token, 'worker', a.worker)
    redis.call('HDEL', job_key(a.id), 'pieces')
    redis.call('ZREM', queue_key(queue), a.id)
    redis.call('ZREM', P .. 'unannounced', a.id)
    if state == 'queued' then
      redis.call('HSET', job_key(a.id), 'started_at', now_text)
      move(a.id, 'queued', 'running', attempt)
    else -- a parent whose next step was due, and it runs all the while
      redis.call('HSET', job_key(a.id), 'claimed_at', now_text)
    end
  end
  return { 'claimed', redis.call('HGETALL', job_key(a.id)) }
end

function commands.publish()
  local state, token, attempt, pieces = read(a.id, 'state', 'token', 'attempt', 'pieces')
  if state ~= 'running' or token ~= a.token then return { 'stale', state } end
  if a.number then
    if a.number <= tonumber(pieces or 0) then return { 'ok' } end -- its answer was lost, and so it comes again
    redis.call('HSET', job_key(a.id), 'pieces', a.number)
  end
  if a.ids then
    local entry = { 'type', 'tokens', 'attempt', attempt, 'ids', a.ids, 'text', raw }
    for _, field in ipairs({ 'choice', 'logprobs', 'reasoning', 'calls', 'runs' }) do
      if a[field] then entry[#entry + 1] = field; entry[#entry + 1] = a[field] end
    end
    redis.call('XADD', tok_key(a.id), '*', unpack(entry))
  end
  if a.sentence then
    redis.call('XADD', tok_key(a.id), '*', 'type', 'sound', 'attempt', attempt, 'sentence', a.sentence, 'offset', a.offset,
      'rate', a.rate, 'last', a.last and 1 or 0, 'pcm', raw)
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
  if a.media_type then redis.call('HSET', job_key(a.id), 'media_type', a.media_type) end
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

-- Whether a job has published anything in this attempt. Such a job ends in bounded time: its next attempt goes on from there.
local function has_published(id, attempt)
  for _, entry in ipairs(redis.call('XREVRANGE', tok_key(id), '+', '-', 'COUNT', 1)) do
    local f = {}
    for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
    if f.type ~= 'state' and f.attempt == attempt then return true end
  end
  return false
end

local MOST_DEATHS = 10 -- charged or not: what kills may do so in another slice each time

-- A worker died in the n-th slice of a job's attempt. That is a charge if no attempt ever came further: what kills, kills in the
-- same slice each time. A slice that an earlier attempt survived is no fault of the job's, nor is one in which it died before
-- and which it has survived now, so then the count begins anew. Returns whether it is to be given up.
local function charge(id, n)
  local charges, died_in = read(id, 'charges', 'died_in')
  local deaths = redis.call('HINCRBY', job_key(id), 'deaths', 1)
  charges, died_in = tonumber(charges), tonumber(died_in or n)
  if n == died_in then charges = charges + 1 elseif n > died_in then charges = 1 end
  redis.call('HSET', job_key(id), 'charges', charges, 'died_in', math.max(n, died_in))
  return charges >= a.max_charges or deaths >= MOST_DEATHS
end

-- Back to the queue, by drain or rescue.
function commands.release()
  local state, token, attempt, queue, seq, announce, step = read(a.id, 'state', 'token', 'attempt', 'queue', 'seq', 'announce', 'step')
  if not state then return { 'gone' } end
  if state ~= 'running' or token ~= a.token then return { 'stale', state } end
  if a.died_in and has_published(a.id, attempt) then
    redis.call('HDEL', job_key(a.id), 'died_in') -- its next attempt begins elsewhere
  elseif a.died_in then
    if charge(a.id, a.died_in) then
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
  if step then wake(a.id) else move(a.id, 'running', 'queued', attempt) end -- a parent's step is due again: it runs all the while
  enqueue(a.id, queue, seq)
  return { 'requeued', queue, announce }
end

-- The message of a job that waits was lost: announce it again under a new number.
function commands.reannounce()
  local state, message, queue, seq = read(a.id, 'state', 'message', 'queue', 'seq')
  if not is_announceable(a.id) or message ~= a.message then return { 'stale', state } end
  redis.call('HINCRBY', job_key(a.id), 'announce', 1)
  redis.call('HDEL', job_key(a.id), 'message')
  enqueue(a.id, queue, seq)
  return { 'ok' }
end

local function lives(worker) return redis.call('EXISTS', P .. 'worker:' .. worker) == 1 end

-- A worker is about to load a model. Another that loads it comes first, and so does one that has it without the caller's
-- knowing (`aware`): it became resident after he had looked. A claim holds as long as its worker lives.
function commands.claim_load()
  if not lives(a.worker) then return { 'refused', a.worker } end
  local claims, known = redis.call('HGETALL', P .. 'loads'), { [a.worker] = true }
  for i = 1, #claims, 2 do
    local holder = string.match(claims[i + 1], '^%S+')
    if not lives(holder) then redis.call('HDEL', P .. 'loads', claims[i])
    elseif claims[i] == a.model and holder ~= a.worker then return { 'refused', holder } end
  end
  for _, worker in ipairs(a.aware) do known[worker] = true end
  for _, worker in ipairs(redis.call('SMEMBERS', P .. 'workers')) do
    local said = not known[worker] and lives(worker) and redis.call('HGET', P .. 'models:' .. worker, a.model)
    local state = said and cjson.decode(said).state
    if state == 'resident' or state == 'loading' then return { 'refused', worker } end
  end
  redis.call('HSET', P .. 'loads', a.model, a.worker .. ' ' .. a.token)
  return { 'claimed' }
end

-- The load has ended, and its worker says in the same transaction what came of it.
function commands.end_load()
  local claim = a.worker .. ' ' .. a.token
  if redis.call('HGET', P .. 'loads', a.model) == claim then redis.call('HDEL', P .. 'loads', a.model) end
  return { 'ok' }
end
