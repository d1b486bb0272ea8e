// The module under test in Node.js: a request a line in, an answer a line out.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { initSync } from "./determinism.js";
import { run } from "./run.js";

initSync({ module: readFileSync(new URL("./determinism_bg.wasm", import.meta.url)) });
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(run(JSON.parse(line))));
}
