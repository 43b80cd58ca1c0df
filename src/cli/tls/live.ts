// Asks the server that runs in a data folder for its certificate, through the control socket.
import { askCertificate, ControlError } from '../../control/control-client.ts'
import type { LiveCertificate } from '../../control/protocol.ts'

/** Undefined where no server answers: none is running, or it has no data folder of its own. */
export async function liveCertificate(dataFolder: string): Promise<LiveCertificate | undefined> {
  try {
    return await askCertificate(dataFolder)
  } catch (error) {
    if (error instanceof ControlError && error.code === 'ABSENT') return undefined
    throw error
  }
}
