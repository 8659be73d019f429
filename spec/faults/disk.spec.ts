import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { eventually } from '../contracts/material.ts'
import { Stage } from '../stories/stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const note = defineTask('note', async (n) => {
  appendFileSync('ledger', n + '\\n')
  await sleep(20)
  return n
})`

/** Enqueues until it is told to stop, says what became of it, and waits for all that was confirmed. */
const PRODUCER = `import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, close } from 'qcluster'
const confirmed = []
const refusals = new Set()
for (let n = 0; !existsSync('enough'); n++) {
  await asyncTask('note', [n, 'x'.repeat(1_000)]).then((task) => console.log('confirmed', confirmed.push(task)), ({ code, message }) => {
    refusals.add(code + ': ' + message)
    console.log('refused')
  })
  await sleep(10)
}
console.log([...refusals].join('\\n'))
const records = await Promise.all(confirmed.map((task) => task.fetch({ wait: 60_000, final: true })))
console.log(confirmed.length - records.filter((record) => record?.success).length, 'lost')
await close()`

interface Disk {
  readonly dataDir: string
  readonly environment?: NodeJS.ProcessEnv
  fill(): void
  free(): void
  remove(): void
}

const SIZE = 4_000_000

/** A small disk in memory: it takes root, and a system that has them. */
function tmpfs(folder: string): Disk | undefined {
  const place = join(folder, 'disk')
  const filling = join(place, 'filling')
  try {
    mkdirSync(place)
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', place], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  return {
    dataDir: join(place, 'data'),
    fill() {
      try {
        writeFileSync(filling, Buffer.alloc(SIZE))
      } catch {
        // As much as there was room for was written.
      }
    },
    free: () => rmSync(filling),
    remove: () => execFileSync('umount', ['--lazy', place]),
  }
}

/** Any disk, where SQLite is made to find no room. */
function simulated(folder: string): Disk {
  const flag = join(folder, 'disk-full')
  const preload = pathToFileURL(join(import.meta.dirname, 'fixtures', 'fillable-disk.mjs')).href
  return {
    dataDir: join(folder, '.qcluster'),
    environment: { NODE_OPTIONS: `--import=${preload}`, DISK_FULL: flag },
    fill: () => writeFileSync(flag, ''),
    free: () => rmSync(flag),
    remove() {},
  }
}

describe('a full disk', function () {
  this.timeout(90_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })

  for (const [what, make] of [
    ['a small one', tmpfs],
    ['one that SQLite finds full', simulated],
  ] as const)
    it(`is told to who enqueues, costs nothing that was confirmed, and is survived: ${what}`, async function () {
      const disk = make(stage.folder)
      // The other one is played everywhere.
      if (!disk) return this.skip()
      try {
        stage.environment = { ...process.env, ...disk.environment, QCLUSTER_DATA_DIR: disk.dataDir }
        const cluster = stage.qcluster('start', '--workers', '2')
        await cluster.line(/running\./)
        const producer = stage.script(PRODUCER)
        await producer.line(/^confirmed 20$/m)
        disk.fill()
        await producer.line(/(refused\n){20}/)
        await cluster.line(/lost the (store|broker) - .*cannot grow, the disk is full/)
        disk.free()
        const { length } = await stage.lines('ledger')
        await eventually(async () => (await stage.lines('ledger')).length > length, true)
        await stage.write('enough', '')
        expect(await producer.exit, producer.log()).to.deep.equal([0, null])
        expect(producer.log()).to.match(/\n0 lost\n$/)
        expect(producer.log()).to.match(
          /^QCLUSTER_BROKER: .*queue\.db cannot grow, the disk is full .*: free some space\.$/m,
        )
        cluster.process.kill('SIGTERM')
        expect(await cluster.exit).to.deep.equal([0, null])
        // It is tried again ever more seldom, not ten times a second.
        expect(cluster.log().match(/lost the store/g)?.length ?? 0).to.be.below(12)
      } finally {
        disk.remove()
      }
    })
})
