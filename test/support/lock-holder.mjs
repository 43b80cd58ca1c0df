/**
 * A process of its own for the tests of the directory lock: takes the lock of the folder, says how that went in one
 * line of JSON, and holds it until it is killed, or until its standard input ends if `--until-end` is given. With
 * `--wait` it says that it is ready first, and then tries at every line of its standard input until it has the lock.
 *
 * Arguments: MODULE (the built storage-engine/directory-lock.js) FOLDER WAYS (`flock`, `socket` or `flock,socket`), then
 * the flags. Plain JavaScript on what was built, because it is started some two hundred times in a run.
 */
const [module = '', directory = '', ways = '', ...flags] = process.argv.slice(2)
const { acquireDirectoryLock } = await import(module)

if (flags.includes('--wait')) {
  process.stdout.write('"ready"\n')
  process.stdin.on('data', attempt)
} else {
  await attempt()
}

async function attempt() {
  try {
    const lock = await acquireDirectoryLock(directory, { ways: ways.split(',') })
    process.stdout.write(`${JSON.stringify({ held: lock.ways })}\n`)
    if (flags.includes('--until-end')) {
      process.stdin.resume()
      process.stdin.once('end', () => lock.release())
    } else {
      setInterval(() => {}, 2 ** 30)
    }
  } catch (error) {
    if (error.name !== 'StorageError') throw error
    process.stdout.write(`${JSON.stringify({ code: error.code, message: error.message })}\n`)
  }
}
