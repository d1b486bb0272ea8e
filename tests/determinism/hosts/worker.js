// The module under test in workerd: a request's body in, the answer out. A GET asks whether it is there.
import { initSync } from "./determinism.js";
import wasm from "./determinism_bg.wasm";
import { run } from "./run.js";

initSync({ module: wasm });

export default {
  async fetch(request) {
    if (request.method === "GET") return new Response("ready");
    return Response.json(run(await request.json()));
  },
};
