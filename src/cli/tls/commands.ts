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
  [exitUsage, 'wrong use'],
  [exitIoError, 'a file, or the server that runs, failed'],
  [exitNoPermission, 'not allowed'],
  [exitConfig, 'the configuration is wrong, or says nothing of this'],
]

export function addTlsCommand(program: CliCommand, host: CliHost): void {
  const tls = program
    .command('tls')
    .description('create, show, renew and check certificates')
    .note('docs/https.md says what a server does by itself, and what to do about each message.')

  tls
    .command('self-signed <name...>')
    .description('create a self-signed certificate and its key, for these names and addresses')
    .option('--cert <FILE>', 'where to write the certificate', 'cert.pem')
    .option('--key <FILE>', 'where to write its key, readable by this user only', 'key.pem')
    .option('--days <N>', 'how long it holds from now on; browsers take no more than 397', '396')
    .option('--force', 'overwrite existing files')
    .option('--json', 'print JSON, for a program to read')
    .note(
      'A server makes one for itself where it has no other. This is for one that several machines are to trust.\n' +
        'Give both files by SSER_SSL_CERT_FILE and SSER_SSL_KEY_FILE, and the certificate to whoever is to trust it.',
    )
    .example('sser tls self-signed push.acme.test 10.0.0.7 --days 90')
    .exits([
      [0, 'done'],
      [exitUsage, 'wrong use'],
      [exitCannotCreate, 'a file of that name is there; nothing was changed'],
      [exitIoError, 'the disk failed'],
      [exitNoPermission, 'not allowed'],
    ])
    .action(async (names: readonly string[], options: SelfSignedOptions) => {
      const { selfSigned } = await import('./self-signed.ts')
      host.exitCode = await selfSigned(names, options, host)
    })

  withConfigOptions(tls.command('status').description('show the certificate in use, and the state of its renewal'))
    .note('Of the server that runs in the data folder, or else of what a start would find. Nothing is changed.')
    .example('sser tls status', 'sser tls status --json')
    .exits([
      [0, 'all is well, or HTTPS is off'],
      [exitFailed, 'clients will refuse it, or the last order has failed; the reason is told'],
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
      'Each finding is told with what to do. For as long as it takes, this listens on the ports of the configuration that are\n' +
        'free, and asks for itself by the names; what a router lets in from outside cannot be seen from inside.',
    )
    .example('SSER_SSL_ENABLED=true sser tls check')
    .exits([[0, 'nothing is in the way'], [exitFailed, 'something is: see the findings'], ...SHARED_CODES])
    .action(async (options: ConfigOptions) => {
      const { check } = await import('./check/check.ts')
      host.exitCode = await check(options, host)
    })

  withConfigOptions(tls.command('renew').description('order another certificate now, due or not'))
    .note(
      'By the server that runs in the data folder; where none does, by this command, which then answers the authority on\n' +
        'the port of server.addr itself. An authority gives a name only so many certificates a week: there is no need of\n' +
        'this but after a mistake was mended, or where a key may have become known.',
    )
    .example('sser tls renew')
    .exits([
      [0, 'another certificate is there'],
      [exitFailed, 'none could be ordered; the reason is told'],
      [exitLocked, 'another process is ordering, or the authority wants to be left alone for a while'],
      ...SHARED_CODES,
    ])
    .action(async (options: ConfigOptions) => {
      const { renew } = await import('./renew.ts')
      host.exitCode = await renew(options, host)
    })
}
