// The module workerd loads: passes events to the compiled worker and, after a trap, gives objects a fresh Wasm
// instance to live in. Evaluations go the short way, as plain values; nothing is decided here.
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
export const Notifier = hosted(worker.Notifier);

const UNLEASH = /\/api\/(?:frontend|proxy)(?:\/all)?\/?(?:\?|$)/;
const EVALUATION = new RegExp(`/ofrep/v1/evaluate/flags|${UNLEASH.source}`);
// The same limit as in limits.rs; longer bodies and those of unknown length are read with care, the long way.
const BODY_LEN_MAX = 64 * 1024;
const HAS_WORK = 1 << 16;
const SAME_HEAD = 1 << 17;

// The headers of the last answer, made once for all answers that have the same.
let lastHeaders;

function headersOf(head) {
  const headers = new Headers();
  for (const line of head.split("\n")) {
    const at = line.indexOf(":");
    headers.set(line.slice(0, at), line.slice(at + 1));
  }
  return headers;
}

// The answer when memory alone can give it.
function direct({ method, headers }, target, body, bodyLength, env, ctx) {
  const authorization = headers.get("authorization") ?? undefined;
  const outcome = worker.directAnswer(
    method,
    target,
    authorization,
    authorization === undefined ? (headers.get("x-api-key") ?? undefined) : undefined,
    headers.get("if-none-match") ?? undefined,
    headers.get("x-flags-min-version") ?? undefined,
    UNLEASH.test(target) ? (headers.get("cf-connecting-ip") ?? undefined) : undefined,
    headers.has("origin"),
    body,
    bodyLength,
  );
  if (outcome & HAS_WORK) {
    const address = headers.get("cf-connecting-ip") ?? undefined;
    ctx.waitUntil(worker.directWork(env, address, headers.get("user-agent") ?? undefined));
  }
  const status = outcome & (HAS_WORK - 1);
  if (status === 0) return undefined;
  if (!(outcome & SAME_HEAD)) lastHeaders = headersOf(worker.directHead());
  const text = worker.directText();
  const contentEnd = text.lastIndexOf("\n");
  // Before the response copies them: its own headers would be one more object. They name a validator when, and only when,
  // this answer has one.
  if (contentEnd + 1 < text.length) lastHeaders.set("etag", text.slice(contentEnd + 1));
  const content = contentEnd === 0 ? null : text.slice(0, contentEnd);
  return new Response(content, { status, headers: lastHeaders });
}

async function directPost(request, target, length, env, ctx) {
  const body = await request.text();
  // The body is read, so the long way gets it anew.
  return direct(request, target, body, length, env, ctx) ?? worker.fetch(new Request(request, { body }), env, ctx);
}

export default {
  fetch(request, env, ctx) {
    const { method, url, headers } = request;
    const target = url.slice(url.indexOf("/", url.indexOf("://") + 3));
    if (EVALUATION.test(target)) {
      if (method === "GET") {
        const answer = direct(request, target, "", 0, env, ctx);
        if (answer !== undefined) return answer;
      } else if (method === "POST") {
        const length = Number(headers.get("content-length") ?? Number.NaN);
        if (length <= BODY_LEN_MAX) return directPost(request, target, length, env, ctx);
      }
    }
    return worker.fetch(request, env, ctx);
  },
};
