// The registry's steps on Valkey, as Lua. What stands there, under the pool's prefix:
//
//   announcements   hash         host → its announcement, as JSON
//   leases          sorted set   host → until when it is there, by the server's clock
//   hosts-version   number       counts changes of `announcements`
//   hosts           channel      each change: JSON of version, host and text, which is empty for a host that is gone
//
// Every script has the key `announcements` as its one declared key and the prefix as its first argument.

import { Script } from '../../valkey/link.ts'

const COMMON = `
local prefix = ARGV[1]
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function changed(host, text)
  local version = redis.call('INCR', prefix .. 'hosts-version')
  redis.call('PUBLISH', prefix .. 'hosts', cjson.encode({ version = version, host = host, text = text }))
end
local function forget(host)
  redis.call('ZREM', prefix .. 'leases', host)
  if redis.call('HDEL', prefix .. 'announcements', host) == 1 then changed(host, '') end
end
local function version()
  return tonumber(redis.call('GET', prefix .. 'hosts-version') or '0')
end
`

/** A heartbeat: host, its announcement, its lease in ms. Also forgets hosts whose lease is over. Answers the version. */
export const ANNOUNCE: Script = new Script(`${COMMON}
local host, text = ARGV[2], ARGV[3]
if redis.call('HGET', prefix .. 'announcements', host) ~= text then
  redis.call('HSET', prefix .. 'announcements', host, text)
  changed(host, text)
end
redis.call('ZADD', prefix .. 'leases', ms + ARGV[4], host)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', ms)) do forget(gone) end
return version()
`)

/** Takes back a host's announcement. */
export const WITHDRAW: Script = new Script(`${COMMON}
forget(ARGV[2])
return version()
`)

/** Answers the version, then each host that is there and its announcement. */
export const READ: Script = new Script(`${COMMON}
local answer = { version() }
for _, host in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'leases', '(' .. string.format('%.0f', ms), '+inf')) do
  local text = redis.call('HGET', prefix .. 'announcements', host)
  if text then
    answer[#answer + 1] = host
    answer[#answer + 1] = text
  end
end
return answer
`)
