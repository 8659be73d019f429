import { expect } from 'chai'
import { humanName, isName, loadIds, nearestName, newClusterId, processName, taskName } from '../lib/names.ts'

describe('a task’s id', () => {
  it('is a UUID of version 7 without dashes', async () => {
    const newId = await loadIds()
    expect(newId()).to.match(/^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/)
  })

  it('is unique, and sorts by the time it was made', async () => {
    const newId = await loadIds()
    const ids = Array.from({ length: 1_000 }, newId)
    expect(new Set(ids).size).to.equal(ids.length)
    expect(ids.toSorted()).to.deep.equal(ids)
  })
})

describe('a name', () => {
  it('is what fits into a line and shows all that it is', () => {
    for (const name of [
      'a',
      'math.add',
      'два слова',
      '漢字 👩',
      '__proto__',
      'x'.repeat(200),
      "'; drop table tasks; --",
    ])
      expect(isName(name), name).to.equal(true)
  })

  it('is nothing hidden, moving, damaged, endless, or of another type', () => {
    const hidden = [
      'a\nb',
      '\u001b[2J',
      'a\u0000',
      '\u009b',
      '\u2028',
      '\u202e',
      '\u200b',
      '\ud800',
      '\ufffd',
    ]
    for (const name of [...hidden, '', 'x'.repeat(10_000), 1, null, undefined, ['a']])
      expect(isName(name), JSON.stringify(name)?.slice(0, 40)).to.equal(false)
  })

  it('has as many characters as its owner allows', () => {
    expect([isName('x'.repeat(100), 100), isName('x'.repeat(101), 100)]).to.deep.equal([true, false])
  })
})

describe('a human name', () => {
  it('is that of humanhash', () => {
    expect(humanName('60ad8d0d871b6095808297')).to.equal('sodium-magnesium-nineteen-hydrogen')
  })

  it('gives each of four equal segments a word, and what is left over to the last', () => {
    expect(humanName('00000000')).to.equal('ack-ack-ack-ack')
    expect(humanName('000102ff')).to.equal('ack-alabama-alanine-zulu')
    expect(humanName(`${'01'.repeat(15)}ff`)).to.equal('ack-ack-ack-zebra')
    expect(humanName('000000000103')).to.equal('ack-ack-ack-alanine')
  })

  it('comes from 256 different words, in the order of the alphabet', () => {
    const words = Array.from({ length: 256 }, (_, byte) => {
      const hex = byte.toString(16).padStart(2, '0')
      return humanName(`000000${hex}`).split('-')[3] as string
    })
    expect(new Set(words).size).to.equal(256)
    expect(words.toSorted()).to.deep.equal(words)
    expect(words.join('')).to.have.length(1506)
    expect(words.join('')).to.match(/^[a-z]+$/)
  })

  it('refuses what is no digest', () => {
    for (const text of ['', '0011', '0011223', 'not hexadecimal', '018f-aa-bb-ccdd'])
      expect(() => humanName(text), text).to.throw(TypeError, `got "${text}"`)
  })
})

describe('a task’s name', () => {
  it('is the human name of its id, dealt out to the four words', () => {
    const id = '000102030405060708090a0b0c0d0e0f'
    expect(taskName(id)).to.equal(humanName('0004080c0105090d02060a0e03070b0f'))
  })

  it('differs in each word from those of its neighbours, which share the time with it', async () => {
    const names = Array.from({ length: 1_000 }, await loadIds()).map((id) => taskName(id).split('-'))
    for (const place of [0, 1, 2, 3])
      expect(new Set(names.map((words) => words[place])).size, `word ${place + 1}`).to.be.above(200)
  })
})

describe('the nearest name', () => {
  it('is the one with the fewest letters to change, whatever their case', () => {
    const known = ['workers', 'timeout', 'maxAttempts', 'group']
    const nearest = ['wrokers', 'TIME_OUT', 'attempts', 'x'].map((word) => nearestName(word, known))
    expect(nearest).to.deep.equal(['workers', 'timeout', 'maxAttempts', 'group'])
  })
})

describe('a process’s name', () => {
  it('is Process- and 32 hex digits, another one each time', () => {
    expect(processName()).to.match(/^Process-[0-9a-f]{32}$/)
    expect(processName()).to.not.equal(processName())
  })
})

describe('a cluster’s id', () => {
  it('is a UUID of version 4 that has a human name', () => {
    const id = newClusterId()
    expect(id).to.match(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(humanName(id.replaceAll('-', ''))).to.match(/^[a-z]+(-[a-z]+){3}$/)
  })
})
