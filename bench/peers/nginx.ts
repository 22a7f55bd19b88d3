// nginx with auth_request: each request is asked about at the checker, or with a cache once in ten seconds.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../host.ts'
import { startChecker } from './checker.ts'
import type { Peer } from './peer.ts'

export const nginx: Peer = peer('nginx', 'nginx, auth_request', false)
export const nginxCached: Peer = peer('nginx-cached', 'nginx, auth_request cached', true)

function peer(name: string, title: string, isCached: boolean): Peer {
  return {
    name,
    title,
    isGuarded: true,
    async start(bench) {
      const { host, socket, sessions } = bench
      const { checker, socket: checkerSocket } = await startChecker(bench)
      const [directory, port] = [host.makeDirectory('nginx'), await freePort()]
      const path = join(directory, 'nginx.conf')
      writeFileSync(path, configuration({ directory, port, socket, checkerSocket, isCached }))
      const started = host.start('peer', 'nginx', ['-p', directory, '-c', path, '-e', 'stderr'])
      await host.listens(started, { port })
      const stop = async (): Promise<void> => {
        await started.stop()
        await checker.stop()
      }
      return { url: `http://127.0.0.1:${port}`, pids: [started.pid, checker.pid], sessions, stop }
    },
  }
}

interface Settings {
  readonly directory: string
  readonly port: number
  readonly socket: string
  readonly checkerSocket: string
  readonly isCached: boolean
}

const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

function configuration({ directory, port, socket, checkerSocket, isCached }: Settings): string {
  const cache = isCached
    ? 'proxy_cache sessions; proxy_cache_key $cookie_session_id; proxy_cache_valid 200 10s; proxy_ignore_headers Cache-Control Expires;'
    : ''
  return `daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${directory}/nginx.pid;
error_log stderr error;
events { worker_connections 19000; }
http {
  access_log off;
  default_type application/octet-stream;
  ${TEMPORARY.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n  ')}
  ${isCached ? `proxy_cache_path ${directory}/sessions keys_zone=sessions:10m;` : ''}
  keepalive_requests 1000000000;
  tcp_nodelay on;
  upstream service { server unix:${socket}; keepalive 256; keepalive_requests 1000000000; }
  upstream checker { server unix:${checkerSocket}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    client_max_body_size 0;
    client_body_buffer_size 128k;
    location /services/plugin/ {
      auth_request /checker;
      auth_request_set $xen_user $upstream_http_x_xen_session_user;
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_buffers 16 16k;
      proxy_buffer_size 16k;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Xen-Session-User $xen_user;
    }
    location = /checker {
      internal;
      proxy_pass http://checker;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      ${cache}
    }
  }
}
`
}
