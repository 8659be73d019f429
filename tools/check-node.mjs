// Runs on any Node that knows modules, so that an old one gets a sentence instead of a syntax error.
var major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  console.error(
    'qcluster needs Node 24 or newer and this is ' +
      process.version +
      '. Run `npm install` here and use npm scripts: they bring their own Node.',
  )
  process.exit(2)
}
