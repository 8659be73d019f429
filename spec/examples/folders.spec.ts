import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { root } from './example.ts'

const examples = readdirSync(join(root, 'examples'))

describe('the examples', () => {
  for (const name of examples)
    it(`explain ${name} in a README, and run it in a spec`, () => {
      expect(readdirSync(join(root, 'examples', name))).to.include('README.md')
      expect(readdirSync(import.meta.dirname)).to.include(`${name}.spec.ts`)
    })
})
