// The module workerd loads: passes requests on, as the edge's own entry does.
import * as worker from "./index.js";

export default {
  fetch(request, env, ctx) {
    return worker.fetch(request, env, ctx);
  },
};
