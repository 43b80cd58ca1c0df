/**
 * One writer per folder, by a lock that the kernel releases when its holder dies: after `kill -9` the next start gets
 * it at once, with nothing to clean up, and two processes that start together can never both take it. Only the kernel
 * decides who is alive, never a process id, which means nothing in another container on the same volume.
 *
 * There are two ways. Both are used if both are available, so that a process that has only one of them is kept out
 * too:
 *
 * - flock(2) on the file `LOCK`. Node cannot call it, but the program `flock` can, on a descriptor that it inherits.
 *   The lock belongs to the open file, which this process still holds when the program has exited.
 * - A listening Unix socket, `LOCK.0000000007`. It accepts connections while its holder lives, even one whose event
 *   loop is busy, and refuses them afterwards. The highest number counts; whoever finds it dead claims the next one. A
 *   claim is a hard link to a socket that is already listening: it either appears under its number alive, or fails
 *   because the number is taken. The highest number is never removed, not even by a clean stop: a number that was free
 *   again could be claimed twice.
 *
 * The socket is visible only to processes of the same kernel. If several machines share the folder over a network, all
 * of them need the program `flock`, and a file system that honours it between them.
 *
 * The content of `LOCK` (process id, host, boot, start) only serves the message that the next process shows.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import callbackFs from 'node:fs'
import fs from 'node:fs/promises'
import net from 'node:net'
import { hostname } from 'node:os'
import { join, resolve as resolvePath } from 'node:path'
import { promisify } from 'node:util'
import { LOCK_NAME } from './data-directory.ts'
import { StorageError, systemCode } from './errors.ts'

const CLAIM_NAME = /^LOCK\.(\d{10})$/
const UNCLAIMED_PREFIX = 'LOCK.new-'
const CLAIM_DIGITS = 10
/** The highest must stay; the few before it stay too, so that a listing made during a claim cannot miss all of them. */
const CLAIMS_KEPT = 4
const CLAIM_ROUNDS_MAX = 100
/** `sun_path` holds 108 bytes on Linux and 104 on macOS, with a NUL. */
const SOCKET_PATH_BYTES_MAX = 103
/** The program answers at once, unless a network file system hangs; then nothing was decided. */
const FLOCK_TIMEOUT_MS = 10_000
const CONNECT_TIMEOUT_MS = 10_000
const HOLDER_BYTES_MAX = 1024

// Bare descriptors: a FileHandle that nobody refers to is closed by the garbage collector, and the lock with it.
const openDescriptor = promisify(callbackFs.open)
const closeDescriptor = promisify(callbackFs.close)
const statDescriptor = promisify(callbackFs.fstat)
const truncateDescriptor = promisify(callbackFs.ftruncate)
const writeDescriptor = promisify(callbackFs.write)

export type LockWay = 'flock' | 'socket'

export interface DirectoryLock {
  readonly directory: string
  /** The ways in which it is held; at least one. */
  readonly ways: readonly LockWay[]
  /** Lets the next process in. Idempotent. The end of the process releases the same things. */
  release(): Promise<void>
}

/** The ways to try, for tests; by default both. */
export interface DirectoryLockOptions {
  readonly ways?: readonly LockWay[]
}

/** What `LOCK` says about its writer. */
interface Holder {
  readonly pid: number
  readonly host: string
  readonly bootId: string
  /** Tells apart containers that share a host name. */
  readonly pidNamespace: string
  readonly startedAt: string
}

/** One way's part of the lock. */
interface Claim {
  readonly way: LockWay
  release(): Promise<void>
}

/**
 * Takes the lock of an existing folder. Throws STORAGE_LOCKED if another process has it or if that cannot be decided,
 * STORAGE_PERMISSION if the folder may not be written, STORAGE_MISSING if there is no folder. Never waits for another
 * process to release the lock. The lock does not keep the process alive.
 */
export async function acquireDirectoryLock(
  directory: string,
  options: DirectoryLockOptions = {},
): Promise<DirectoryLock> {
  const ways = options.ways ?? ['flock', 'socket']
  const folder = resolvePath(directory)
  const path = join(folder, LOCK_NAME)
  const file = await openLockFile(path)
  const claims: Claim[] = []
  try {
    const refusals: string[] = []
    // The program first: if it says no, nothing has been left behind in the folder.
    if (ways.includes('flock')) collect(await claimByFlock(path, file), claims, refusals)
    if (ways.includes('socket')) collect(await claimBySocket(folder, path), claims, refusals)
    if (claims.length === 0) throw undecidable(path, refusals.join('; '))
    await describeSelf(file)
  } catch (error) {
    await releaseAll(claims)
    await closeDescriptor(file)
    throw refused(error, folder)
  }
  let released: Promise<void> | undefined
  const release = async () => {
    // Otherwise others might be shown a holder that is gone. Until the descriptor is closed, the file is still ours.
    await truncateDescriptor(file, 0).catch(toleratedOnRelease)
    await releaseAll(claims)
    await closeDescriptor(file)
  }
  return {
    directory: folder,
    ways: claims.map(({ way }) => way),
    release() {
      released ??= release()
      return released
    },
  }
}

function collect(claim: Claim | string, claims: Claim[], refusals: string[]): void {
  if (typeof claim === 'string') refusals.push(claim)
  else claims.push(claim)
}

async function releaseAll(claims: readonly Claim[]): Promise<void> {
  for (const claim of claims.toReversed()) await claim.release()
}

async function openLockFile(path: string): Promise<number> {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  let file: number
  try {
    file = await openDescriptor(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new StorageError(
        'STORAGE_MISSING',
        `There is no folder to put ${path} into. Make it, then start again.`,
        error,
      )
    }
    if (code === 'ELOOP' || code === 'EISDIR' || code === 'ENXIO') throw notOurs(path, error)
    throw refused(error, path)
  }
  if ((await statDescriptor(file)).isFile()) return file
  await closeDescriptor(file)
  throw notOurs(path)
}

// The first way: flock.

/** The claim, or the reason, in words, why this way is not available here. */
async function claimByFlock(path: string, file: number): Promise<Claim | string> {
  const answer = await runFlock(file)
  if (answer === 'held') throw await locked(path)
  if (answer !== 'taken') return answer
  // Between opening and locking, another process may have removed the file and created it again.
  const [ours, named] = await Promise.all([statDescriptor(file), fs.stat(path)])
  if (named.ino !== ours.ino || named.dev !== ours.dev) {
    throw undecidable(path, 'the file was replaced while its lock was being taken')
  }
  if (!(await isReallyHeld(path, file))) return 'the file system does not honour flock'
  return { way: 'flock', release: async () => {} }
}

/** Some file systems grant the lock to everyone. */
async function isReallyHeld(path: string, file: number): Promise<boolean> {
  const info = await fs.readFile(`/proc/self/fdinfo/${file}`, 'utf8').catch(() => '')
  if (/^lock:.*\bFLOCK\b.*\bWRITE\b/m.test(info)) return true
  const second = await openDescriptor(path, 'r+')
  try {
    return (await runFlock(second)) === 'held'
  } finally {
    await closeDescriptor(second)
  }
}

/** `taken`, `held` by another process, or, in words, what is wrong with the program. */
function runFlock(fd: number): Promise<string> {
  return new Promise((resolve) => {
    let child: ChildProcess
    try {
      child = spawn('flock', ['-n', '-x', '3'], {
        // The program sees the descriptor as number 3. It is the same open file, so the lock outlives the program.
        stdio: ['ignore', 'ignore', 'pipe', fd],
      })
    } catch (error) {
      resolve(`the program flock cannot be run (${systemCode(error) ?? String(error)})`)
      return
    }
    // Not spawn's own option: if the program is missing, that timer goes on and keeps the process alive.
    const timer = setTimeout(() => child.kill('SIGKILL'), FLOCK_TIMEOUT_MS)
    const answer = (text: string) => {
      clearTimeout(timer)
      resolve(text)
    }
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint += text
    })
    child.on('error', (error) => answer(`the program flock cannot be run (${systemCode(error) ?? error.message})`))
    child.on('close', (code, signal) => {
      if (code === 0) answer('taken')
      // Both util-linux and BusyBox exit with 1 and print nothing if another process has the lock.
      else if (code === 1 && complaint === '') answer('held')
      else answer(`the program flock failed (${complaint.trim() || `exit ${code ?? signal}`})`)
    })
  })
}

// The second way: a listening socket.

/** The claim, or the reason, in words, why this way is not available here. */
async function claimBySocket(directory: string, path: string): Promise<Claim | string> {
  const folder = await openDescriptor(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
  let server: net.Server | undefined
  const unclaimed = `${UNCLAIMED_PREFIX}${randomBytes(8).toString('hex')}`
  try {
    const found = await highestClaim(directory)
    // Before a socket is made: most refusals happen here.
    if (found > 0 && (await answers(directory, claimName(found), folder, path))) throw await locked(path)
    server = await listen(directory, unclaimed, folder)
    const number = await claimNext(directory, unclaimed, folder, path)
    await removeLeftovers(directory, number)
  } catch (error) {
    if (server !== undefined) await closeServer(server)
    await fs.rm(join(directory, unclaimed), { force: true })
    await closeDescriptor(folder)
    if (error instanceof SocketsUnusable) return error.message
    throw error
  }
  const listening = server
  return {
    way: 'socket',
    async release() {
      await closeServer(listening)
      await closeDescriptor(folder)
    },
  }
}

/**
 * No socket can be made on this file system or under this path, which says nothing about who holds the lock. A full
 * disk counts too: if flock is available, the server must be able to start and make room.
 */
class SocketsUnusable extends Error {}

/** Returns the number under which this process now holds the folder. */
async function claimNext(directory: string, unclaimed: string, folder: number, path: string): Promise<number> {
  for (let round = 0; round < CLAIM_ROUNDS_MAX; round++) {
    const highest = await highestClaim(directory)
    if (highest > 0 && (await answers(directory, claimName(highest), folder, path))) throw await locked(path)
    const next = highest + 1
    try {
      await fs.link(join(directory, unclaimed), join(directory, claimName(next)))
    } catch (error) {
      const code = systemCode(error)
      // Another process was faster, and may have removed our socket since: look again.
      if (code === 'EEXIST' || code === 'ENOENT') continue
      if (code === 'EACCES' || code === 'EROFS') throw error
      throw new SocketsUnusable(`no socket can be linked in the folder (${code})`)
    }
    // The claim that was found dead may be an old one by now: a higher number means that others have claimed since.
    if ((await highestClaim(directory)) === next) return next
    await fs.rm(join(directory, claimName(next)), { force: true })
  }
  throw undecidable(path, 'the sockets in the folder keep changing')
}

async function highestClaim(directory: string): Promise<number> {
  let highest = 0
  for (const name of await fs.readdir(directory)) {
    highest = Math.max(highest, Number(CLAIM_NAME.exec(name)?.[1] ?? 0))
  }
  return highest
}

function claimName(number: number): string {
  return `${LOCK_NAME}.${String(number).padStart(CLAIM_DIGITS, '0')}`
}

/** Whether a live process listens there. */
function answers(directory: string, name: string, folder: number, path: string): Promise<boolean> {
  const address = socketAddress(directory, name, folder)
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path: address })
    const timer = setTimeout(() => {
      socket.destroy()
      reject(undecidable(path, `${name} neither answers nor refuses`))
    }, CONNECT_TIMEOUT_MS)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', (error) => {
      const code = systemCode(error)
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false)
      // Its connection queue is full, so there is a listener.
      else if (code === 'EAGAIN') resolve(true)
      else if (code === 'EACCES' || code === 'EPERM') reject(error)
      else reject(undecidable(path, `${name} cannot be asked (${code ?? error.message})`))
    })
    socket.on('close', () => clearTimeout(timer))
  })
}

async function listen(directory: string, name: string, folder: number): Promise<net.Server> {
  const server = net.createServer((socket) => socket.destroy())
  const address = socketAddress(directory, name, folder)
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ path: address, exclusive: true }, resolve)
    })
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EACCES' || code === 'EROFS') throw error
    throw new SocketsUnusable(`no socket can be made in the folder (${code})`)
  }
  // Neither connections nor failures to accept one matter: that the kernel takes them at all is the answer.
  server.on('error', () => {})
  server.unref()
  return server
}

/**
 * A socket address has room for a short path only. If the path is longer, the folder is named by its open descriptor;
 * without /proc there is no address.
 */
function socketAddress(directory: string, name: string, folder: number): string {
  const direct = join(directory, name)
  if (Buffer.byteLength(direct) <= SOCKET_PATH_BYTES_MAX) return direct
  if (process.platform === 'linux') return `/proc/self/fd/${folder}/${name}`
  throw new SocketsUnusable(`the path of the folder is longer than a socket's may be (${SOCKET_PATH_BYTES_MAX} bytes)`)
}

function closeServer(server: net.Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

/** Removes sockets of processes that never got as far as a claim, the first name of our own, and claims long dead. */
async function removeLeftovers(directory: string, number: number): Promise<void> {
  for (const name of await fs.readdir(directory)) {
    const claim = CLAIM_NAME.exec(name)?.[1]
    const old = claim !== undefined && Number(claim) <= number - CLAIMS_KEPT
    if (old || name.startsWith(UNCLAIMED_PREFIX)) await fs.rm(join(directory, name), { force: true })
  }
}

// What the next process is told.

async function describeSelf(file: number): Promise<void> {
  const holder: Holder = {
    pid: process.pid,
    host: hostname(),
    bootId: await bootId(),
    pidNamespace: await pidNamespace(),
    startedAt: new Date(Date.now() - process.uptime() * 1000).toISOString(),
  }
  try {
    await truncateDescriptor(file, 0)
    await writeDescriptor(file, Buffer.from(`${JSON.stringify(holder)}\n`), 0, undefined, 0)
  } catch (error) {
    // A start must succeed on a full disk, so that room can be made; the next process is told less.
    if (systemCode(error) !== 'ENOSPC' && systemCode(error) !== 'EDQUOT') throw error
  }
}

/** Empty if the system has none. */
async function bootId(): Promise<string> {
  return (await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim()
}

async function pidNamespace(): Promise<string> {
  return fs.readlink('/proc/self/ns/pid').catch(() => '')
}

async function readHolder(path: string): Promise<Partial<Record<keyof Holder, unknown>>> {
  try {
    const text = await fs.readFile(path, 'utf8')
    const holder: unknown = JSON.parse(text.slice(0, HOLDER_BYTES_MAX))
    return typeof holder === 'object' && holder !== null ? holder : {}
  } catch (error) {
    // Half written, empty or unreadable: the message does without it.
    if (error instanceof SyntaxError || systemCode(error) !== undefined) return {}
    throw error
  }
}

async function locked(path: string): Promise<StorageError> {
  const holder = await readHolder(path)
  return new StorageError(
    'STORAGE_LOCKED',
    `The data folder is in use by ${await describeHolder(holder)} (${path}). ` +
      'Two processes never write one log: stop that one first, or give this one a folder of its own.',
  )
}

async function describeHolder(holder: Awaited<ReturnType<typeof readHolder>>): Promise<string> {
  const { pid, host, startedAt } = holder
  if (typeof pid !== 'number' || typeof host !== 'string') return 'another process, which has not said which it is'
  const since = typeof startedAt === 'string' ? `, started ${startedAt}` : ''
  const near =
    host === hostname() && holder.bootId === (await bootId()) && holder.pidNamespace === (await pidNamespace())
  if (near && pid === process.pid) return `this very process, ${pid}${since}`
  const where = near ? 'on this host' : `on host ${host}, in another container or machine with process ids of its own`
  return `process ${pid} ${where}${since}`
}

function undecidable(path: string, why: string): StorageError {
  return new StorageError(
    'STORAGE_LOCKED',
    `It cannot be decided whether another process holds ${path}: ${why}. ` +
      'Install the program flock (package util-linux), or move the folder to a local file system. If it is certain ' +
      `that no other process uses the folder, remove the files of the lock (rm -f '${path}' '${path}'.*) and start again.`,
  )
}

function notOurs(path: string, cause?: unknown): StorageError {
  return new StorageError(
    'STORAGE_PERMISSION',
    `${path} is not a regular file, so it cannot be the lock of this folder. See what it is, and move it away.`,
    cause,
  )
}

/** A refusal by the operating system, put into words for the operator; anything else unchanged. */
function refused(error: unknown, path: string): unknown {
  const code = error instanceof StorageError ? undefined : systemCode(error)
  if (code === 'EROFS') {
    const what = `${path} is on a file system that is mounted read-only. Mount it to be written, then start again.`
    return new StorageError('STORAGE_PERMISSION', what, error)
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const user = process.getuid === undefined ? 'this user' : `the user with id ${process.getuid()}`
    const what = `${path} may not be read and written by ${user}. Make this user its owner (chown), or run as its owner.`
    return new StorageError('STORAGE_PERMISSION', what, error)
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StorageError('STORAGE_FULL', `There is no room left for ${path}. Make room, then start again.`, error)
  }
  return error
}

function toleratedOnRelease(error: unknown): void {
  // The description is only a remark: if it cannot be wiped, the lock must be released all the same.
  if (systemCode(error) === undefined) throw error
}
