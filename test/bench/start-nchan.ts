/**
 * The peer to be compared with: nginx with its module nchan (Debian's `nginx-core` and `libnginx-mod-nchan`), two workers,
 * with the server's own paths, so that the same load reaches both. It keeps messages in memory only. Promises that
 * it ends with `close()`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../support/free-port.ts'
import type { Peer } from './start-prototype.ts'

const MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'
const TRIES_MAX = 100

export async function startNchan(directory: string): Promise<Peer> {
  if (!existsSync(MODULE)) {
    throw new Error('nchan is not installed: apt-get install nginx-core libnginx-mod-nchan')
  }
  const folder = join(directory, 'nchan')
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const configuration = join(folder, 'nginx.conf')
  writeFileSync(configuration, configurationOf(folder, port))
  const child = spawn('nginx', ['-p', folder, '-c', configuration, '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const close = async () => {
    const exited = once(child, 'exit')
    if (child.exitCode === null && child.kill()) await exited
  }
  try {
    await accepts(port, child)
  } catch (error) {
    await close()
    throw error
  }
  return { port, close }
}

/** Its usual buffer of 10 messages a channel would drop most of what is published at full speed; so it gets a larger one. */
function configurationOf(folder: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `load_module ${MODULE};
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 2;
worker_rlimit_nofile 60000;
daemon off;
pid ${folder}/nginx.pid;
events { worker_connections 50000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  nchan_shared_memory_size 512M;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port} backlog=16384;
    location ~ ^/api/v1/pubsubs/(\\w+)/events$ {
      nchan_publisher;
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_message_buffer_length 10000;
    }
  }
}
`
}

async function accepts(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    if (child.exitCode !== null) throw new Error('nginx ended at its start.')
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return
    } catch {
      await delay(50)
    } finally {
      socket.destroy()
    }
  }
  throw new Error('nginx does not listen.')
}
