/** Prints what a cluster that runs elsewhere is doing: `node receiver.ts [ws://…]`, where its `--inspect` has said. */
import { createWebSocketReceiver } from '@statelyai/inspect'

const [server = 'ws://127.0.0.1:8080'] = process.argv.slice(2)

/** Session → the name of the actor. */
const names = new Map<string, string>()

createWebSocketReceiver({ server }).subscribe((event) => {
  if (event.type === '@xstate.actor') names.set(event.sessionId, event.name)
  if (event.type !== '@xstate.snapshot') return
  const { value } = event.snapshot as { value?: unknown }
  if (value !== undefined) console.log(`${names.get(event.sessionId)} ${JSON.stringify(value)}`)
})
