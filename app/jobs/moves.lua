-- Every move of a job. One script call is one transaction: the state, the
-- indexes, the job's stream and the event log change together or not at all.
-- This file has what all moves are made of; chains.lua, batches.lua, webhooks.lua,
-- callers.lua and workers.lua follow it in the same script and have the moves themselves.
--
--   KEYS[1]  key prefix ("mlx:")
--   ARGV[1]  command, a name of the table `commands`
--   ARGV[2]  its arguments, a JSON object
--   ARGV[3]  one raw value that is not worth quoting into JSON (request, output, text, children)
--
-- The answer is a pair: what the command says, and the jobs that the move put
-- into a queue on its way, for the caller to announce.
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
local function index_key(parent, of, kind) -- children are listed apart, and so are deliveries of webhooks
  return P .. (parent and 'children:' or kind == 'webhook' and 'deliveries:' or 'jobs:') .. of
end
local function wake(id) redis.call('PUBLISH', P .. 'wake', id) end

local function read(id, ...)
  local found = redis.call('HMGET', job_key(id), ...)
  for i = 1, #found do if found[i] == false then found[i] = nil end end
  return unpack(found, 1, select('#', ...))
end

-- How many jobs are in each state, by kind. Kept by the very moves, so it is exact; counted out where it is missing: in a store
-- that is older than this, or after somebody deleted it.
local function stand(kind, from, to)
  if redis.call('EXISTS', P .. 'standing') == 0 then
    for _, each in ipairs({ 'queued', 'running', 'succeeded', 'failed', 'canceled' }) do
      for _, of in ipairs({ 'jobs:', 'children:', 'deliveries:' }) do
        for _, id in ipairs(redis.call('ZRANGE', P .. of .. each, 0, -1)) do
          redis.call('HINCRBY', P .. 'standing', (read(id, 'kind') or '?') .. ':' .. each, 1)
        end
      end
    end
  end
  if from then redis.call('HINCRBY', P .. 'standing', kind .. ':' .. from, -1) end
  if to then redis.call('HINCRBY', P .. 'standing', kind .. ':' .. to, 1) end
end

-- What is counted for ever, for /metrics: a field is the series' name and its labels' values, in the order of series.py.
local function count(name, ...)
  redis.call('HINCRBY', P .. 'metrics', '["' .. name .. '","' .. table.concat({ ... }, '","') .. '"]', 1)
end

local commands = {}
local admitted = {} -- what this move put into a queue beside the job that it is about
local cancel_children, child_ended -- of chains.lua
local cancel_lines, line_ended -- of batches.lua
local tell, delivery_ended -- of webhooks.lua
local erase -- of callers.lua

-- The one place where a state changes.
local function move(id, from, to, attempt)
  local kind, model, lane, seq, parent, hook = read(id, 'kind', 'model', 'lane', 'seq', 'parent', 'webhook')
  stand(kind, from, to)
  count('job_moves_total', kind, not from and 'submitted' or to == 'queued' and 'requeued' or to == 'running' and 'started' or to)
  if from then redis.call('ZREM', index_key(parent, from, kind), id) end
  redis.call('ZADD', index_key(parent, to, kind), seq, id)
  redis.call('HSET', job_key(id), 'state', to)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', '10000', '*',
    'job', id, 'state', to, 'kind', kind, 'model', model, 'lane', lane, 'attempt', attempt)
  if from then redis.call('XADD', tok_key(id), '*', 'type', 'state', 'state', to, 'attempt', attempt) end
  wake(id)
  if hook then tell(id, hook, to, attempt) end
end

local function finish(id, from, to, attempt)
  local kind, queue, waited, stored, idem, parent, open, error =
    read(id, 'kind', 'queue', 'waited', 'stored', 'idem', 'parent', 'open', 'error')
  redis.call('HSET', job_key(id), 'finished_at', now_text)
  if error and to ~= 'succeeded' then count('job_errors_total', kind, cjson.decode(error).code or 'other') end
  move(id, from, to, attempt)
  redis.call('ZREM', queue_key(queue), id)
  redis.call('ZREM', P .. 'unannounced', id)
  redis.call('ZREM', P .. 'lingering', id)
  redis.call('ZREM', P .. 'deadlines', id)
  redis.call('EXPIRE', tok_key(id), a.keep_tok or 300)
  -- A child is kept as long as its parent; an event that was delivered only briefly, so that jobs keep their room.
  local is_brief = (waited == '1' and not stored) or (kind == 'webhook' and to == 'succeeded')
  if not parent then redis.call('ZADD', P .. 'ended:' .. (is_brief and 'waited' or 'submitted'), now_text, id) end
  -- A failed or cancelled job frees its idempotency key: the retry is a new job. So does any download: its files may be removed.
  if idem and (to ~= 'succeeded' or kind == 'download') and redis.call('HGET', idem, 'job') == id then redis.call('DEL', idem) end
  if open and open ~= '0' then cancel_children(id) end
  if kind == 'batch' then cancel_lines(id) end
  if kind == 'webhook' then delivery_ended(id) end
  if parent then child_ended(parent, id, to) end
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
  if state == 'running' then redis.call('PUBLISH', P .. 'control', 'cancel ' .. id) end
  return { 'canceled' }
end

-- Too late: cancelled, and the record says why. A child has its parent's deadline, so it is the chain that is too late.
local function expire(id)
  local parent = read(id, 'parent')
  if parent then return expire(parent) end
  redis.call('HSET', job_key(id), 'error', a.late)
  return cancel(id)
end
