/** Where the states and arrows of a machine are drawn, worked out beforehand by `npm run layouts`. */

type Point = readonly [x: number, y: number]
type Box = readonly [x: number, y: number, width: number, height: number]

export interface Layout {
  /** The machine's id, and what tells its definition from any other. */
  readonly machine: string
  readonly fingerprint: string
  readonly width: number
  readonly height: number
  readonly states: readonly { readonly path: string; readonly box: Box }[]
  /** Where each state begins that has states within. */
  readonly starts: readonly { readonly path: string; readonly at: Point; readonly points: readonly Point[] }[]
  readonly arrows: readonly {
    readonly from: string
    readonly to: string
    readonly labels: readonly string[]
    readonly points: readonly Point[]
    readonly box: Box
  }[]
}
