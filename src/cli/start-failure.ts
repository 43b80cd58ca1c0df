// What an operator is told when the server cannot start: what is wrong, and what to do. The parts of the server say so
// themselves; the system's errors about ports and folders are put into words here. An unexpected error is a bug, and is shown
// with its stack.

interface SystemError extends Error {
  readonly code: string
  readonly syscall?: unknown
  readonly address?: unknown
  readonly port?: unknown
  readonly hostname?: unknown
  readonly path?: unknown
}

const anotherPort =
  'choose another one: the environment variable PORT or server.addr for HTTP, SSLPORT or server.sslAddr for HTTPS'
const anotherFolder = 'choose another one with the environment variable SSER_STORAGE_DIR, or storage.directory'

export function startFailureWords(error: unknown): string {
  if (!isSystemError(error)) return error instanceof Error ? (error.stack ?? error.message) : String(error)
  if (error.syscall === 'listen') return listenWords(error)
  if (error.syscall === 'getaddrinfo') {
    return `The host ${error.hostname} of server.addr (PORT) or server.sslAddr (SSLPORT) is not known here (${error.code}). Leave it out to listen on all addresses.`
  }
  if (error.syscall === 'mkdir') return folderWords(error)
  return error.message
}

function listenWords({ code, address, port, message }: SystemError): string {
  switch (code) {
    case 'EADDRINUSE':
      return `Port ${port} is taken: another program listens there, or another sser. Stop that one, or ${anotherPort}.`
    case 'EACCES':
      return `This user may not listen on port ${port}. Ports below 1024 often need a right of their own: grant it, or ${anotherPort}.`
    case 'EADDRNOTAVAIL':
      return `This machine has no address ${address}. Leave it out to listen on all addresses: PORT=${port}, or SSLPORT.`
    default:
      return message
  }
}

function folderWords({ code, path }: SystemError): string {
  const start = `The data folder cannot be made, ${path}: `
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return `${start}this user may not write there. Give the folder above to the user that runs the server, or ${anotherFolder}.`
    case 'EROFS':
      return `${start}that file system can only be read. Mount it for writing, or ${anotherFolder}.`
    case 'EEXIST':
    case 'ENOTDIR':
      return `${start}a file stands in its place. Move it away, or ${anotherFolder}.`
    default:
      return `${start}${code}. Make it by hand, or ${anotherFolder}.`
  }
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
}
