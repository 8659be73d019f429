/** Says again what it hears. */
process.on('message', (message) => process.send(message))
