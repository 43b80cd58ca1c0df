/**
 * Loaded into a server before its program: writes down what it asks of the disk below RECORDED_FOLDER, call by call with
 * all bytes, to the file RECORDED_TO, for whoever wants to know what a loss of power could leave (`recorded-disk.ts`). A
 * call that changes anything is noted before it is made, and again when it is done. Calls of `fs/promises` are not seen.
 *
 * Each note is a u32 with the length of its JSON, the JSON, and as many bytes as that says.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const { RECORDED_FOLDER: folder = '', RECORDED_TO: path = '' } = process.env
const trace = fs.openSync(path, 'a')
const { writeSync } = fs
const NOTHING = Buffer.alloc(0)
/** Descriptors of files below the folder. */
const known = new Set()
let calls = 0

function note(what, bytes = NOTHING) {
  const json = Buffer.from(JSON.stringify({ ...what, bytes: bytes.length }))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(json.length)
  writeSync(trace, Buffer.concat([length, json, bytes]))
}

function isBelow(name) {
  return name === folder || name.startsWith(`${folder}/`)
}

/** Notes `name` with what `describe` makes of its arguments; undefined: it is none of ours. */
function record(name, describe) {
  const call = fs[name]
  fs[name] = (...given) => {
    const described = describe(...given)
    if (described === undefined) return call(...given)
    const { bytes, ...what } = described
    calls += 1
    const number = calls
    note({ call: name, number, ...what }, bytes)
    const done = given.pop()
    return call(...given, (error, ...results) => {
      if (error === null || error === undefined) note({ call: 'done', number })
      done(error, ...results)
    })
  }
}

const ofDescriptor = (fd) => (known.has(fd) ? { fd } : undefined)

const { open, close } = fs
fs.open = (name, flags, ...rest) => {
  const done = rest.pop()
  return open(name, flags, ...rest, (error, fd) => {
    if (error === null && isBelow(String(name))) {
      known.add(fd)
      calls += 1
      note({ call: 'open', number: calls, fd, path: name })
    }
    done(error, fd)
  })
}
fs.close = (fd, done) => {
  known.delete(fd)
  return close(fd, done)
}
record('write', (fd, bytes, from, length, position) => {
  return known.has(fd) ? { fd, position, bytes: bytes.subarray(from, from + length) } : undefined
})
record('ftruncate', (fd, size) => (known.has(fd) ? { fd, size } : undefined))
record('fdatasync', ofDescriptor)
record('fsync', ofDescriptor)
record('rename', (from, to) => (isBelow(from) ? { path: from, to } : undefined))
record('unlink', (name) => (isBelow(name) ? { path: name } : undefined))
record('mkdir', (name) => (isBelow(name) ? { path: name } : undefined))
syncBuiltinESMExports()
