import { expect } from 'chai'
import { commandLine } from '../../lib/cli/main.ts'

describe('the help of a command', () => {
  const help = (name: string) =>
    commandLine()
      .commands.find((command) => command.name() === name)
      ?.helpInformation()
      .replace(/\s+/g, ' ')

  it('tells what there is to choose from, and the default', () => {
    expect(help('start'))
      .to.contain(
        'The least level that is logged. It is one of debug, info, warn, error, fatal, silent. (default: info)',
      )
      .and.contain('Seconds before a failed task is tried again. A task can have its own. (default: 60)')
  })

  it('tells no default that the machine decides', () => {
    expect(help('start')).to.match(/as many as this machine has processors for us\. --concurrency/)
  })
})
