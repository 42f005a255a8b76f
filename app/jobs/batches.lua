-- Batches: a job of kind `batch` has a child for each line of a file, `{batch}.{n}`, but few of them at a time. No message is ever
-- about the batch itself: an API process sees to it, as its clerk, under a lease that a dead one's successor takes over.
-- The clerk feeds lines into the queues of their models, collects what came of those that have ended (their records are
-- erased then, so a batch never has more in Redis than what is under way), and at last settles: the result files are there.
-- A line is fed once and collected once, whoever does it, because both are remembered here.
--
-- Of a batch: `batch:{id}:fed` the numbers of lines that need no feeding any more (set), `batch:{id}:lines` the children that
-- there are (sorted set), `batch:{id}:ended` those that have ended, in that order (list), `batch:{id}:parts` the blobs with
-- what came of those that were collected (list). `batches` has the batches that are not settled.

local function batch_key(id, what) return P .. 'batch:' .. id .. ':' .. what end

-- Whether the caller is the batch's clerk; if so it stays that for as long again.
local function attends(id)
  if read(id, 'clerk') ~= a.clerk then return false end
  redis.call('HSET', job_key(id), 'clerk_until', now + a.lease)
  return true
end

function line_ended(batch, id, to)
  local state, attempt, n = read(batch, 'state', 'attempt')
  n = read(id, 'number')
  redis.call('RPUSH', batch_key(batch, 'ended'), n)
  redis.call('HINCRBY', job_key(batch), 'done', 1)
  redis.call('HINCRBY', job_key(batch), to == 'succeeded' and 'completed' or 'failed', 1)
  if state == 'running' then
    redis.call('XADD', tok_key(batch), 'MAXLEN', '~', '1000', '*',
      'type', 'child', 'attempt', attempt, 'number', n, 'ended', to, unpack(progress_of(batch)))
    wake(batch)
  end
end

function cancel_lines(id)
  for _, n in ipairs(redis.call('ZRANGE', batch_key(id, 'lines'), 0, -1)) do cancel(child_id(id, n)) end
end

-- Become a batch's clerk, or stay it. One's own process may always take over: what it did before has ended.
function commands.batch_attend()
  local state, clerk, till, settled = read(a.id, 'state', 'clerk', 'clerk_until', 'settled_at')
  if not state or settled then
    redis.call('ZREM', P .. 'batches', a.id)
    return { 'gone' }
  end
  if clerk and clerk ~= a.clerk and string.sub(clerk, 1, #a.process) ~= a.process and tonumber(till) > now then return { 'busy' } end
  redis.call('HSET', job_key(a.id), 'clerk', a.clerk, 'clerk_until', now + a.lease)
  return { 'attended' }
end

function commands.batch_leave()
  if read(a.id, 'clerk') == a.clerk then redis.call('HDEL', job_key(a.id), 'clerk', 'clerk_until') end
  return { 'ok' }
end

-- The file was checked and its lines may begin.
function commands.batch_begin()
  if not attends(a.id) then return { 'lost' } end
  redis.call('HSETNX', job_key(a.id), 'total', a.total) -- also of one that was cancelled meanwhile
  if read(a.id, 'state') ~= 'queued' then return { 'ok' } end
  redis.call('HSET', job_key(a.id), 'attempt', 1, 'started_at', now_text, 'planned_at', now_text, 'unit', 'lines',
    'done', 0, 'completed', 0, 'failed', 0, 'only_model', a.only_model or '')
  move(a.id, 'queued', 'running', 1)
  redis.call('XADD', tok_key(a.id), '*', 'type', 'progress', 'attempt', 1, unpack(progress_of(a.id)))
  wake(a.id)
  return { 'ok' }
end

-- The file cannot be used: `raw` says why, line by line.
function commands.batch_refuse()
  if not attends(a.id) then return { 'lost' } end
  if read(a.id, 'state') ~= 'queued' then return { 'ok' } end
  redis.call('HSET', job_key(a.id), 'errors', raw, 'error', a.error, 'settled_at', now_text)
  redis.call('ZREM', P .. 'batches', a.id)
  finish(a.id, 'queued', 'failed', 0)
  return { 'ok' }
end

-- Put lines into their queues: `raw` is the list of them. One that was fed before is left as it is.
function commands.batch_feed()
  if not attends(a.id) then return { 'lost' } end
  if read(a.id, 'state') ~= 'running' then return { 'ok' } end
  local owner = read(a.id, 'owner')
  for _, line in ipairs(cjson.decode(raw)) do
    if redis.call('SADD', batch_key(a.id, 'fed'), line.number) == 1 then
      local id = child_id(a.id, line.number)
      redis.call('HSET', job_key(id), 'id', id, 'parent', a.id, 'number', line.number, 'kind', line.kind, 'model', line.model,
        'lane', line.lane, 'queue', line.queue, 'waited', '0', 'request', line.request, 'seed', line.seed, 'seq', 0,
        'attempt', 0, 'announce', 0, 'charges', 0, 'created_at', now_text)
      if owner then redis.call('HSET', job_key(id), 'owner', owner) end
      if line.blobs then redis.call('HSET', job_key(id), 'blobs', line.blobs, 'holds', 1) end
      if line.needs then redis.call('HSET', job_key(id), 'needs', line.needs) end
      redis.call('ZADD', index_key(true, 'model:' .. line.model), 0, id)
      redis.call('ZADD', batch_key(a.id, 'lines'), line.number, line.number)
      move(id, nil, 'queued', 0)
      admit(id)
    end
  end
  return { 'ok' }
end

-- What came of lines is in the spool: `a.part` has it. Of the children that have ended the first ones, `a.ended`, are erased;
-- `a.refused` are lines that never had one. The answer names what held something in the spool, as that of `forget` does.
function commands.batch_collect()
  if not attends(a.id) then return { 'lost' } end
  if read(a.id, 'collected') == a.round then return { 'ok' } end
  redis.call('HSET', job_key(a.id), 'collected', a.round)
  if a.part then redis.call('RPUSH', batch_key(a.id, 'parts'), a.part) end
  local held = {}
  for _, n in ipairs(a.ended) do
    redis.call('ZREM', batch_key(a.id, 'lines'), n)
    erase(child_id(a.id, n), math.huge, held)
  end
  redis.call('LTRIM', batch_key(a.id, 'ended'), #a.ended, -1)
  for _, n in ipairs(a.refused) do redis.call('SADD', batch_key(a.id, 'fed'), n) end
  redis.call('HINCRBY', job_key(a.id), 'done', #a.refused)
  redis.call('HINCRBY', job_key(a.id), 'failed', #a.refused)
  for name, count in pairs(a.usage) do redis.call('HINCRBY', job_key(a.id), name, count) end
  local state, attempt = read(a.id, 'state', 'attempt')
  if #a.refused > 0 and state == 'running' then
    redis.call('XADD', tok_key(a.id), 'MAXLEN', '~', '1000', '*', 'type', 'progress', 'attempt', attempt, unpack(progress_of(a.id)))
    wake(a.id)
  end
  return { 'ok', unpack(held) }
end

-- Every line has been answered: what is left is to write the files, and that takes no deadline.
function commands.batch_finalize()
  if not attends(a.id) then return { 'lost' } end
  if read(a.id, 'state') ~= 'running' then return { 'ok' } end
  redis.call('HSETNX', job_key(a.id), 'finalizing_at', now_text)
  redis.call('ZREM', P .. 'deadlines', a.id)
  return { 'ok' }
end

-- The result files are there. `raw` is the output of the job, where it has not ended before its lines.
function commands.batch_settle()
  if not attends(a.id) then return { 'lost' } end
  local state, attempt, settled, hook = read(a.id, 'state', 'attempt', 'settled_at', 'webhook')
  if settled then return { 'ok' } end
  if redis.call('ZCARD', batch_key(a.id, 'lines')) > 0 then return { 'lost' } end -- they are to be collected first
  redis.call('HSET', job_key(a.id), 'settled_at', now_text, 'completed', a.completed, 'failed', a.failed)
  for _, name in ipairs({ 'output_file_id', 'error_file_id' }) do
    if a[name] then redis.call('HSET', job_key(a.id), name, a[name]) end
  end
  redis.call('ZREM', P .. 'batches', a.id)
  for _, what in ipairs({ 'fed', 'lines', 'ended', 'parts' }) do redis.call('DEL', batch_key(a.id, what)) end
  if state == 'running' then
    redis.call('HSET', job_key(a.id), 'output', raw)
    redis.call('HINCRBY', job_key(a.id), 'commits', 1)
    finish(a.id, 'running', 'succeeded', attempt)
  elseif hook then
    tell(a.id, hook, state, attempt) -- it was cancelled, or too late: that is told once its results are there
  end
  return { 'ok' }
end
