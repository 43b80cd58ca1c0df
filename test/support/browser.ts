/**
 * A real Chromium for tests, from npm alone: the browser lies packed in @sparticuz/chromium, playwright-core speaks to it.
 * It is unpacked once, beside the installed packages. Promises that its process and its profile are gone when it was
 * closed. Knows nothing of the pages that are opened in it.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { brotliDecompressSync } from 'node:zlib'
import { type Browser, chromium } from 'playwright-core'
import { ROOT } from './server-process.ts'

const packageFolder = join(ROOT, 'node_modules', '@sparticuz', 'chromium')

/** As root there is no sandbox to be had; and no test wants a browser that calls home. */
const launchArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--lang=en-US',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** False: a browser can be had. Otherwise why not, for a test's `skip`. */
export function missingBrowser(): string | false {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the Chromium of the tests needs Linux on x86-64'
  return existsSync(join(packageFolder, 'bin', 'chromium.br')) ? false : '@sparticuz/chromium is not installed'
}

/** Each call starts a process of its own with an empty profile; close it. */
export function startBrowser(): Promise<Browser> {
  const folder = unpackedFolder()
  return chromium.launch({
    executablePath: join(folder, 'chromium'),
    headless: true,
    args: launchArguments,
    // Without a language of the machine's it would have one (en-US@posix) that its own Intl refuses.
    env: { ...process.env, LANG: 'en_US.UTF-8', LC_ALL: 'en_US.UTF-8', LD_LIBRARY_PATH: join(folder, 'lib') },
  })
}

/** Test files may come here at the same time: each unpacks for itself, and the first to finish gives the folder its name. */
function unpackedFolder(): string {
  const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as { version: string }
  const folder = join(ROOT, 'node_modules', '.cache', `chromium-${version}`)
  if (existsSync(folder)) return folder
  mkdirSync(dirname(folder), { recursive: true })
  const temporary = mkdtempSync(`${folder}-`)
  try {
    writeFileSync(join(temporary, 'chromium'), unpacked('chromium.br'), { mode: 0o755 })
    // Of what a bare Debian lacks it has NSS and NSPR.
    const tar = spawnSync('tar', ['-x', '-C', temporary], { input: unpacked('al2023.tar.br') })
    if (tar.status !== 0) throw new Error(`tar could not unpack the libraries of Chromium: ${tar.stderr}`)
    if (!existsSync(folder)) renameSync(temporary, folder)
  } catch (error) {
    // Another one was first.
    if (!existsSync(folder)) throw error
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
  return folder
}

function unpacked(name: string): Buffer {
  return brotliDecompressSync(readFileSync(join(packageFolder, 'bin', name)))
}
