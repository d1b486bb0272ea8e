// Workers KV for one machine: speaks what workerd's kvNamespace binding sends, keeps values in a Durable Object. It is
// consistent at once, which the real one is not.
import { DurableObject } from "cloudflare:workers";

export class Values extends DurableObject {
  async fetch(request) {
    const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL)");
    if (request.method === "PUT") {
      sql.exec("INSERT OR REPLACE INTO entry (key, value) VALUES (?, ?)", key, await request.arrayBuffer());
      return new Response();
    }
    const [row] = sql.exec("SELECT value FROM entry WHERE key = ?", key).toArray();
    return row === undefined ? new Response(null, { status: 404 }) : new Response(row.value);
  }
}

export default { fetch: (request, env) => env.VALUES.getByName("all").fetch(request) };
