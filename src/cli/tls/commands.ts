// `sser tls …` in the tree of commands: certificates, before and while a server runs. Each command is in a file of its own, loaded
// when it is called.
import type { CliCommand, ExitCodes } from '../cli-command.ts'
import { type ConfigOptions, withConfigOptions } from '../config/commands.ts'
import {
  type CliHost,
  exitCannotCreate,
  exitConfig,
  exitFailed,
  exitIoError,
  exitLocked,
  exitNoPermission,
  exitUsage,
} from '../host.ts'

export interface SelfSignedOptions {
  readonly cert: string
  readonly key: string
  readonly days: string
  readonly force?: boolean
  readonly json?: boolean
}

const SHARED_CODES: ExitCodes = [
  [exitUsage, 'wrong usage'],
  [exitIoError, 'a file could not be read or written, or the running server failed'],
  [exitNoPermission, 'not allowed'],
  [exitConfig, 'the configuration is wrong, or does not ask for this'],
]

export function addTlsCommand(program: CliCommand, host: CliHost): void {
  const tls = program
    .command('tls')
    .description('create, show, renew and check certificates')
    .note('docs/https.md explains what a server does by itself, and what to do about each message.')

  tls
    .command('self-signed <name...>')
    .description('create a self-signed certificate and its key for these names and addresses')
    .option('--cert <FILE>', 'where to write the certificate', 'cert.pem')
    .option('--key <FILE>', 'where to write its key, readable by this user only', 'key.pem')
    .option('--days <N>', 'how long it is valid from now; browsers accept at most 397 days', '396')
    .option('--force', 'overwrite existing files')
    .option('--json', 'print JSON')
    .note(
      'A server creates its own if it has no other; this command is for a certificate that several machines are to trust.\n' +
        'Name both files in SSER_SSL_CERT_FILE and SSER_SSL_KEY_FILE, and give the certificate to whoever is to trust it.',
    )
    .example('sser tls self-signed push.acme.test 10.0.0.7 --days 90')
    .exits([
      [0, 'done'],
      [exitUsage, 'wrong usage'],
      [exitCannotCreate, 'a file of that name exists; nothing was changed'],
      [exitIoError, 'the disk failed'],
      [exitNoPermission, 'not allowed'],
    ])
    .action(async (names: readonly string[], options: SelfSignedOptions) => {
      const { selfSigned } = await import('./self-signed.ts')
      host.exitCode = await selfSigned(names, options, host)
    })

  withConfigOptions(tls.command('status').description('show the certificate in use and the state of its renewal'))
    .note(
      'It asks the server running in the data folder; without one, it shows what a start would find. Nothing is changed.',
    )
    .example('sser tls status', 'sser tls status --json')
    .exits([
      [0, 'all is well, or HTTPS is off'],
      [exitFailed, 'clients will reject it, or the last order failed; the reason is printed'],
      ...SHARED_CODES,
    ])
    .action(async (options: ConfigOptions) => {
      const { status } = await import('./status.ts')
      host.exitCode = await status(options, host)
    })

  withConfigOptions(
    tls
      .command('check')
      .description('check the configuration, the names, the ports and the authority before a first start'),
  )
    .note(
      'Each finding says what to do. While it runs, the command listens on those configured ports that are free, and tries to\n' +
        'reach itself under the configured names; it cannot see from inside what a router lets in from outside.',
    )
    .example('SSER_SSL_ENABLED=true sser tls check')
    .exits([[0, 'no problem was found'], [exitFailed, 'there are problems: see the findings'], ...SHARED_CODES])
    .action(async (options: ConfigOptions) => {
      const { check } = await import('./check/check.ts')
      host.exitCode = await check(options, host)
    })

  withConfigOptions(tls.command('renew').description('order a new certificate now, due or not'))
    .note(
      'The server running in the data folder orders it; without one, this command does, and answers the authority on the port\n' +
        'of server.addr itself. An authority issues only so many certificates per name and week: use this only after fixing a\n' +
        'mistake, or if a key may have become known.',
    )
    .example('sser tls renew')
    .exits([
      [0, 'a new certificate was obtained'],
      [exitFailed, 'none could be ordered; the reason is printed'],
      [exitLocked, 'another process is ordering, or the authority asked to wait'],
      ...SHARED_CODES,
    ])
    .action(async (options: ConfigOptions) => {
      const { renew } = await import('./renew.ts')
      host.exitCode = await renew(options, host)
    })
}
