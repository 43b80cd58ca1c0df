// The SharedWorker of all tabs of this browser that show the dashboard: they share one connection, however many they are.
import { makeSources, type TabWish } from './sources.ts'

const scope = globalThis as unknown as { onconnect: (event: MessageEvent) => void }
scope.onconnect = ({ ports: [port] }) => {
  if (port === undefined) return
  const { take, close } = makeSources((news) => port.postMessage(news))
  port.onmessage = ({ data }: MessageEvent<TabWish>) => take(data)
  // A tab that crashes does not sign off; not every browser reports it.
  port.addEventListener('close', close)
}
