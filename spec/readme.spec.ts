import { expect } from 'chai'
import { commandLine } from '../lib/cli/main.ts'
import { EVENTS } from '../lib/logger.ts'
import { optionNames } from '../lib/options.ts'
import { readme, renewed } from '../tools/readme.ts'

/** A text without the blanks and dashes by which the formatter aligns tables. */
const unaligned = (text: string): string =>
  text.replace(/^\|.*$/gm, (row) => row.replace(/ +\|/g, ' |').replace(/-{3,}/g, '---'))

describe('the README', () => {
  it('has tables that are true; `npm run readme` renews them', () => {
    expect(unaligned(readme())).to.equal(unaligned(renewed(readme())))
  })

  it('tells every option and every event', () => {
    for (const name of [...optionNames, ...Object.keys(EVENTS)])
      expect(unaligned(readme())).to.contain(`| \`${name}\` |`)
  })

  it('tells every command, and no flag that stands for an option', () => {
    const rows = unaligned(readme()).match(/^\| `qcluster .*$/gm) ?? []
    for (const command of commandLine().commands) {
      const leaves = command.commands.length > 0 ? command.commands : [command]
      for (const leaf of leaves) {
        const path = leaf === command ? command.name() : `${command.name()} ${leaf.name()}`
        expect(rows.some((row) => row.startsWith(`| \`qcluster ${path}`))).to.equal(true, path)
      }
    }
    expect(rows.join()).to.not.contain('--workers').and.not.contain('--no-scheduler')
  })

  it('gets a new table in place of a stale one, and nothing else changes', () => {
    const text = 'before\n<!-- table: exits -->\nstale\n<!-- end -->\nafter'
    expect(renewed(text)).to.match(
      /^before\n<!-- table: exits -->\n\n\| Code \| Meaning \|\n[\s\S]*\n\n<!-- end -->\nafter$/,
    )
    expect(() => renewed('<!-- table: ghosts -->\n<!-- end -->')).to.throw('asks for a table "ghosts"')
  })
})
