// The server that runs in a data folder, asked by its control socket for its certificate.
import { askCertificate, ControlError } from '../../control/control-client.ts'
import type { LiveCertificate } from '../../control/protocol.ts'

/** Undefined where no server answers: none runs, or one without a durable log, or one that is starting. */
export async function liveCertificate(dataFolder: string): Promise<LiveCertificate | undefined> {
  try {
    return await askCertificate(dataFolder)
  } catch (error) {
    if (error instanceof ControlError && error.code === 'ABSENT') return undefined
    throw error
  }
}
