/** Where in the viewer one is, as the address says it: `#/machine/<id of an actor>`. */

export const VIEWS = ['overview', 'machine', 'sequence'] as const
export type View = (typeof VIEWS)[number]

export interface Route {
  readonly view: View
  /** The actor that is looked at, where one was chosen. */
  readonly actor: string | undefined
}

export function routeOf(hash: string): Route {
  const [, name = '', actor = ''] = hash.split('/')
  const view = VIEWS.find((one) => one === name) ?? 'overview'
  return { view, actor: decoded(actor) || undefined }
}

export function linkTo(view: View, actor: string | undefined): string {
  return `#/${view}${actor === undefined ? '' : `/${encodeURIComponent(actor)}`}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
