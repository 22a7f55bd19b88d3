// The steps on Valkey that nothing may come in between, as Lua. What stands there, under the pool's prefix:
//
//   users                  hash     name → JSON of uuid, role, password (PHC string), created_ms
//   names                  hash     uuid → name
//   session:<uuid>         hash     id_hash, user, user_uuid, role, originator, client_address, created_ms; written once
//   active                 sorted set   uuid of the session → when it was last active, by the server's clock
//   by-user:<uuid>         set      uuids of the user's sessions
//   by-originator:<hash>   set      uuids of the originator's sessions
//
// A session is over when `session:<uuid>` is gone. That key never changes until then, so that being told of its change
// is being told of the end; what changes often, the last activity, is elsewhere.
//
// Every script has the key `active` as its one declared key (in a Cluster it leads to the server that has all of them) and
// the prefix as its first argument.

import { Script } from '../../valkey/link.ts'

const COMMON = `
local prefix = ARGV[1]
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function finish(uuid)
  local key = prefix .. 'session:' .. uuid
  local row = redis.call('HMGET', key, 'user_uuid', 'originator_hash')
  redis.call('ZREM', prefix .. 'active', uuid)
  if not row[1] then return 0 end
  redis.call('DEL', key)
  redis.call('SREM', prefix .. 'by-user:' .. row[1], uuid)
  redis.call('SREM', prefix .. 'by-originator:' .. row[2], uuid)
  return 1
end
local function finish_of_user(uuid, except)
  local ended = {}
  for _, session in ipairs(redis.call('SMEMBERS', prefix .. 'by-user:' .. uuid)) do
    if session ~= except and finish(session) == 1 then ended[#ended + 1] = session end
  end
  return ended
end
`

/**
 * Opens a session: uuid, id_hash, user's name and uuid, originator, its hash, client's address, most for a user, most for
 * an originator. Answers the role, then the uuids of the sessions that had to end for it; false when the user is gone.
 */
export const OPEN: Script = new Script(`${COMMON}
local uuid, id_hash, user, user_uuid = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local originator, originator_hash, address = ARGV[6], ARGV[7], ARGV[8]
local text = redis.call('HGET', prefix .. 'users', user)
if not text then return false end
local row = cjson.decode(text)
if row.uuid ~= user_uuid then return false end
local answer = { row.role }
-- Own sessions go first, then those of the user who has most, the least recently active before others; the local superuser's
-- only for itself.
local function make_room(set, most)
  local members = redis.call('SMEMBERS', set)
  if #members < most then return end
  local rows, candidates, counts = {}, {}, {}
  for _, session in ipairs(members) do
    local found = redis.call('HMGET', prefix .. 'session:' .. session, 'user_uuid', 'user', 'role')
    local owner = found[1] or ''
    local active = tonumber(redis.call('ZSCORE', prefix .. 'active', session) or '0')
    rows[session] = { owner = owner, is_own = owner == user_uuid or owner == '', active = active }
    counts[owner] = (counts[owner] or 0) + 1
    local is_superuser = found[2] == 'root' and found[3] == 'pool-admin'
    if rows[session].is_own or not is_superuser then candidates[#candidates + 1] = session end
  end
  table.sort(candidates, function(a, b)
    local x, y = rows[a], rows[b]
    if x.is_own ~= y.is_own then return x.is_own end
    if counts[x.owner] ~= counts[y.owner] then return counts[x.owner] > counts[y.owner] end
    if x.active ~= y.active then return x.active < y.active end
    return a < b
  end)
  for index = 1, math.min(#candidates, #members - most + 1) do
    finish(candidates[index])
    redis.call('SREM', set, candidates[index])
    answer[#answer + 1] = candidates[index]
  end
end
make_room(prefix .. 'by-user:' .. user_uuid, tonumber(ARGV[9]))
make_room(prefix .. 'by-originator:' .. originator_hash, tonumber(ARGV[10]))
local ms = now()
redis.call('HSET', prefix .. 'session:' .. uuid, 'id_hash', id_hash, 'user', user, 'user_uuid', user_uuid,
  'role', row.role, 'originator', originator, 'originator_hash', originator_hash, 'client_address', address,
  'created_ms', string.format('%.0f', ms))
redis.call('ZADD', prefix .. 'active', ms, uuid)
redis.call('SADD', prefix .. 'by-user:' .. user_uuid, uuid)
redis.call('SADD', prefix .. 'by-originator:' .. originator_hash, uuid)
return answer
`)

/** Ends the session with this uuid and id_hash. Answers 1 when there was one. */
export const END: Script = new Script(`${COMMON}
if redis.call('HGET', prefix .. 'session:' .. ARGV[2], 'id_hash') ~= ARGV[3] then return 0 end
return finish(ARGV[2])
`)

/** Ends the sessions of the user with this uuid but one, unless the user is the local superuser. Answers their uuids. */
export const END_OF_SUBJECT: Script = new Script(`${COMMON}
local name = redis.call('HGET', prefix .. 'names', ARGV[2])
if not name then return {} end
local row = cjson.decode(redis.call('HGET', prefix .. 'users', name))
if name == 'root' and row.role == 'pool-admin' then return {} end
return finish_of_user(ARGV[2], ARGV[3])
`)

/** Ends some of those that were last active at the given age, in ms, or before. Answers their uuids. */
export const SWEEP: Script = new Script(`${COMMON}
local ended = redis.call('ZRANGEBYSCORE', prefix .. 'active', '-inf', now() - ARGV[2], 'LIMIT', 0, 100)
for _, session in ipairs(ended) do finish(session) end
return ended
`)

/** Notes activity of sessions, of each only when what is noted is older than the given ms. */
export const TOUCH: Script = new Script(`${COMMON}
local ms = now()
for index = 3, #ARGV do
  local noted = redis.call('ZSCORE', prefix .. 'active', ARGV[index])
  if noted and ms - noted >= tonumber(ARGV[2]) then redis.call('ZADD', prefix .. 'active', 'XX', ms, ARGV[index]) end
end
return #ARGV - 2
`)

/** Adds a user: name, uuid, JSON. Answers 1 when the name was free. */
export const ADD_USER: Script = new Script(`${COMMON}
if redis.call('HSETNX', prefix .. 'users', ARGV[2], ARGV[4]) == 0 then return 0 end
redis.call('HSET', prefix .. 'names', ARGV[3], ARGV[2])
return 1
`)

/** Sets a user's password: name, hash, and the hash that it has to replace, or an empty text for any. */
export const SET_PASSWORD: Script = new Script(`${COMMON}
local text = redis.call('HGET', prefix .. 'users', ARGV[2])
if not text then return 0 end
local row = cjson.decode(text)
if ARGV[4] ~= '' and row.password ~= ARGV[4] then return 0 end
row.password = ARGV[3]
redis.call('HSET', prefix .. 'users', ARGV[2], cjson.encode(row))
return 1
`)

/** Sets a user's role: name, role. Another role ends the user's sessions. */
export const SET_ROLE: Script = new Script(`${COMMON}
local text = redis.call('HGET', prefix .. 'users', ARGV[2])
if not text then return 0 end
local row = cjson.decode(text)
if row.role == ARGV[3] then return 1 end
row.role = ARGV[3]
redis.call('HSET', prefix .. 'users', ARGV[2], cjson.encode(row))
finish_of_user(row.uuid, '')
return 1
`)

/** Removes a user: name. The user's sessions end. */
export const REMOVE_USER: Script = new Script(`${COMMON}
local text = redis.call('HGET', prefix .. 'users', ARGV[2])
if not text then return 0 end
local row = cjson.decode(text)
redis.call('HDEL', prefix .. 'users', ARGV[2])
redis.call('HDEL', prefix .. 'names', row.uuid)
finish_of_user(row.uuid, '')
return 1
`)
