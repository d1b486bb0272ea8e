// The module workerd loads: `/WORKLOAD/COUNT` runs a workload so many times and answers with the sum of its answers.
import { run } from "./index.js";

export default {
  fetch(request) {
    const [, workload, count] = new URL(request.url).pathname.split("/");
    return new Response(String(run(workload, Number(count))));
  },
};
