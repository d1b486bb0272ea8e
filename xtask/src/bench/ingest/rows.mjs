// Counts the rows of SQLite files: of all tables together, and what waits in an edge's buffer. One line of JSON for all files.

import { DatabaseSync } from 'node:sqlite';

const found = { rows: 0, waiting_rows: 0, waiting_events: 0, waiting_bytes: 0 };
for (const path of process.argv.slice(2)) {
  const database = new DatabaseSync(path, { readOnly: true });
  const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL").all();
  for (const { name } of tables) {
    found.rows += database.prepare(`SELECT COUNT(*) AS rows FROM "${name}"`).get().rows;
  }
  if (tables.some((table) => table.name === 'pending')) {
    const sums = 'COUNT(*) AS rows, COALESCE(SUM(event_count), 0) AS events, COALESCE(SUM(len), 0) AS bytes';
    const waiting = database.prepare(`SELECT ${sums} FROM pending`).get();
    found.waiting_rows += waiting.rows;
    found.waiting_events += waiting.events;
    found.waiting_bytes += waiting.bytes;
  }
  database.close();
}
console.log(JSON.stringify(found));
