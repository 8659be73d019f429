#!/usr/bin/env node
// The version is checked before anything is imported that an older Node could not read.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  console.error(`qcluster needs Node 24 or newer and this is ${process.version}; install a newer one.`)
  process.exit(2)
}
const { main } = await import('./main.ts')
await main(process.argv)
