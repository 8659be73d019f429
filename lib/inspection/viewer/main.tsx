/** The viewer of an inspection: everything that is on the page follows from the frames that the server sends. */
import { render } from 'preact'
import { Actors } from './actors.ts'
import { App } from './app.tsx'
import { routeOf } from './route.ts'
import './style.css'
import { type Contact, connect, socketUrl, takeToken } from './wire.ts'

const actors = new Actors()
const app = document.getElementById('app') as HTMLElement
let contact: Contact = 'connecting'
let isDue = false

/** Draws once a frame, however much has come in. */
function draw(): void {
  if (isDue) return
  isDue = true
  requestAnimationFrame(() => {
    isDue = false
    const isPlaying = actors.play(performance.now())
    render(
      <App actors={actors} contact={contact} route={routeOf(location.hash)} now={actors.now(Date.now())} />,
      app,
    )
    if (isPlaying) draw()
  })
}

/** Milliseconds within which a server has told the present. */
const PRESENT = 500

connect(socketUrl(takeToken()), {
  hear: (frame) => {
    actors.hear(frame, Date.now())
    draw()
  },
  change: (changed) => {
    contact = changed
    if (changed === 'connected') {
      actors.begin()
      setTimeout(() => {
        actors.settle()
        draw()
      }, PRESENT)
    }
    draw()
  },
})
addEventListener('hashchange', draw)
setInterval(draw, 1_000)
draw()
