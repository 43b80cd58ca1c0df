// The SharedWorker of all tabs of this browser that show the dashboard: they share its connection, however many they are.
import { makeSources, type TabWish } from './sources.ts'

const scope = globalThis as unknown as { onconnect: (event: MessageEvent) => void }
scope.onconnect = ({ ports: [port] }) => {
  if (port === undefined) return
  const { take, close } = makeSources((news) => port.postMessage(news))
  port.onmessage = ({ data }: MessageEvent<TabWish>) => take(data)
  // A tab that crashes takes no leave; not every browser tells of it.
  port.addEventListener('close', close)
}
