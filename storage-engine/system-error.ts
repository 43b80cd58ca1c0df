/**
 * Errors that look like the operating system's own (`code`, `errno`, `syscall`, `path`, and Node's wording), for
 * whatever the implementations of `Files` refuse by themselves, and for simulated disks.
 */

import { getSystemErrorMap } from 'node:util'

export interface SystemError extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  readonly path?: string
}

/** `code` is a name such as ENOENT; `syscall` a word such as `open`; `why` stands in for the system's own wording. */
export function systemError(code: string, syscall: string, path?: string, why?: string): SystemError {
  const { errno, wording } = lookUp(code)
  const place = path === undefined ? '' : ` '${path}'`
  const error = new Error(`${code}: ${why ?? wording}, ${syscall}${place}`)
  return Object.assign(error, { code, errno, syscall, ...(path === undefined ? {} : { path }) })
}

/** By name; made once, since Node makes a map of its table anew for each who asks. */
const known = new Map([...getSystemErrorMap()].map(([errno, [name, wording]]) => [name, { errno, wording }]))

function lookUp(code: string): { errno: number; wording: string } {
  // EDQUOT and a few others are not in libuv's table; their number matters to nobody.
  return known.get(code) ?? { errno: 0, wording: 'input or output error' }
}
