// The module workerd loads: passes events to the compiled worker and, after a trap, gives objects a fresh Wasm
// instance to live in. Never looks into a request.
import { DurableObject } from "cloudflare:workers";
import * as worker from "./index.js";

// A trap leaves a Wasm instance unusable; wasm-bindgen replaces it at the next call, and pointers into the old one
// die with it. Asking for the state is such a call, so a changed `instanceId` is seen before a dead pointer is used.
function hosted(Class) {
  return class extends DurableObject {
    #object;
    #instanceId;

    #live() {
      const { instanceId } = worker.__worker_init_state();
      if (this.#instanceId !== instanceId) {
        this.#object = new Class(this.ctx, this.env);
        this.#instanceId = instanceId;
      }
      return this.#object;
    }

    fetch(request) {
      return this.#live().fetch(request);
    }

    alarm() {
      return this.#live().alarm();
    }

    webSocketMessage(socket, message) {
      return this.#live().webSocketMessage(socket, message);
    }

    webSocketClose(socket, code, reason, wasClean) {
      return this.#live().webSocketClose(socket, code, reason, wasClean);
    }

    webSocketError(socket, error) {
      return this.#live().webSocketError(socket, error);
    }
  };
}

export const Replica = hosted(worker.Replica);
export const Buffer = hosted(worker.Buffer);

export default {
  fetch(request, env, ctx) {
    return worker.fetch(request, env, ctx);
  },
};
