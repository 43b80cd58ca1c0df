/**
 * A process of its own for the tests of the directory lock: takes the lock of the folder, says how that went in one
 * line of JSON, and holds it until it is killed, or until its standard input ends if `--until-end` is given. With
 * `--wait` it says that it is ready first, and then tries at every line of its standard input until it has the lock.
 *
 * Arguments: FOLDER WAYS (`flock`, `socket` or `flock,socket`), then the flags.
 */

import { acquireDirectoryLock, type LockWay } from '../../storage-engine/directory-lock.ts'
import { StorageError } from '../../storage-engine/errors.ts'

const [directory = '', ways = '', ...flags] = process.argv.slice(2)
const isWay = (word: string): word is LockWay => word === 'flock' || word === 'socket'

if (flags.includes('--wait')) {
  process.stdout.write('"ready"\n')
  process.stdin.on('data', attempt)
} else {
  await attempt()
}

async function attempt(): Promise<void> {
  try {
    const lock = await acquireDirectoryLock(directory, { ways: ways.split(',').filter(isWay) })
    process.stdout.write(`${JSON.stringify({ held: lock.ways })}\n`)
    if (flags.includes('--until-end')) {
      process.stdin.resume()
      process.stdin.once('end', () => lock.release())
    } else {
      setInterval(() => {}, 2 ** 30)
    }
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    process.stdout.write(`${JSON.stringify({ code: error.code, message: error.message })}\n`)
  }
}
