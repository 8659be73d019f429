/** A schema of its own in a PostgreSQL that is shared: all tables of ours are made in the first one of the search path. */
import { randomUUID } from 'node:crypto'
import { Client } from 'pg'

export class OwnSchema {
  readonly name: string
  /** Of a store in it, whose connections bear its name. */
  readonly options: { readonly store: string }
  readonly #owner: Client

  static async make(url: string): Promise<OwnSchema> {
    const schema = new OwnSchema(url)
    await schema.#owner.connect()
    await schema.#owner.query(`create schema ${schema.name}`)
    return schema
  }

  private constructor(url: string) {
    this.name = `spec_${randomUUID().replaceAll('-', '')}`
    const search = encodeURIComponent(`-c search_path=${this.name}`)
    this.options = { store: `${url}?options=${search}&application_name=${this.name}` }
    this.#owner = new Client({ connectionString: url })
  }

  /** Cuts every connection to it. */
  async cut(): Promise<void> {
    const all = 'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1'
    await this.#owner.query(all, [this.name])
  }

  /** How many connections there are to it. */
  async connections(): Promise<number> {
    const count = 'select count(*)::int as count from pg_stat_activity where application_name = $1'
    return (await this.#owner.query<{ count: number }>(count, [this.name])).rows[0]?.count ?? 0
  }

  async remove(): Promise<void> {
    await this.#owner.query(`drop schema ${this.name} cascade`)
    await this.#owner.end()
  }
}
