/** Shows everything to an inspector's page in a frame, which hears what is posted to it: `--inspect-url` names that page. */
import './stately.css'
import { socketUrl, takeToken } from './wire.ts'

const inspector = new URL(document.querySelector<HTMLMetaElement>('meta[name="inspector"]')?.content ?? '')
const url = socketUrl(takeToken())
const frame = document.createElement('iframe')
let socket: WebSocket | undefined

/** Whenever the inspector says that it is there it has seen nothing yet; a new connection begins with the present. */
addEventListener('message', ({ source, origin, data }) => {
  if (source !== frame.contentWindow || origin !== inspector.origin) return
  if (data?.type !== '@statelyai.connected') return
  socket?.close()
  listen()
})

function listen(): void {
  const own = new WebSocket(url)
  socket = own
  own.onmessage = ({ data }) => frame.contentWindow?.postMessage(JSON.parse(String(data)), inspector.origin)
  own.onclose = () => {
    if (own === socket) setTimeout(listen, RETRY)
  }
}

/** Milliseconds. */
const RETRY = 1_000

frame.title = 'Stately inspector'
frame.src = inspector.href
document.body.append(frame)
