// Builds dist beside the old one and then puts it in its place: no stale file stays, a failed build leaves the last good
// one, and a cluster that runs from it meanwhile never finds it half written. Any Node that the compiler accepts will do,
// so that `prepare` builds also where the machine's own Node is too old for what is built.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')

// `npm ci --omit=dev` runs `prepare` too.
if (!existsSync(compiler) && process.env.npm_lifecycle_event === 'prepare') {
  console.error('qcluster was not built: its development dependencies are not installed.')
  process.exit(0)
}

const fresh = mkdtempSync(join(root, 'dist.'))
try {
  process.exitCode = await build()
} finally {
  rmSync(fresh, { recursive: true, force: true })
}

async function build() {
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', fresh], {
    cwd: root,
    stdio: 'inherit',
  })
  if (status !== 0) return status ?? 1
  await buildViewer()
  replaceDist()
  return 0
}

/** The page that shows an inspection: it loads nothing from anywhere else, and nothing is written into it in place. */
async function buildViewer() {
  const { build } = await import('vite')
  const viewer = join(root, 'lib', 'inspection', 'viewer')
  await build({
    configFile: false,
    root: viewer,
    base: './',
    logLevel: 'warn',
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    build: {
      outDir: join(fresh, 'lib', 'inspection', 'viewer'),
      emptyOutDir: false,
      rolldownOptions: { input: ['index.html', 'stately.html'].map((page) => join(viewer, page)) },
      target: 'es2022',
      assetsInlineLimit: 0,
      modulePreload: false,
    },
  })
}

function replaceDist() {
  const dist = join(root, 'dist')
  const old = `${fresh}.old`
  const bin = join(fresh, 'lib', 'cli', 'bin.js')
  chmodSync(fresh, 0o755)
  if (existsSync(bin)) chmodSync(bin, 0o755)
  if (existsSync(dist)) renameSync(dist, old)
  renameSync(fresh, dist)
  rmSync(old, { recursive: true, force: true })
}
