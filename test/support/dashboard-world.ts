/** A server and a browser for all tests of a file that look at the dashboard. Both end with the file. */
import { after, before } from 'node:test'
import type { Browser } from 'playwright-core'
import { Api } from './api.ts'
import { missingBrowser, startBrowser } from './browser.ts'
import { type ServerOptions, ServerProcess } from './server-process.ts'

export interface World {
  /** For the tests' `skip`. */
  readonly skip: string | false
  readonly server: ServerProcess
  readonly browser: Browser
  readonly api: Api
}

/** `prepare` is asked before the server starts; `tidy` is called when it has ended. */
export function useDashboard(
  prepare: () => Promise<ServerOptions> | ServerOptions = () => ({}),
  tidy = () => {},
): World {
  const skip = missingBrowser()
  let started: Omit<World, 'skip'> | undefined
  function parts(): Omit<World, 'skip'> {
    if (started === undefined) throw new Error('The server and the browser are there for tests only.')
    return started
  }
  before(async () => {
    if (skip !== false) return
    const server = await ServerProcess.start(await prepare())
    started = { server, browser: await startBrowser(), api: new Api(server) }
  })
  after(async () => {
    started?.api.close()
    await started?.browser.close()
    await started?.server.close()
    tidy()
  })
  return {
    skip,
    get server() {
      return parts().server
    },
    get browser() {
      return parts().browser
    },
    get api() {
      return parts().api
    },
  }
}
