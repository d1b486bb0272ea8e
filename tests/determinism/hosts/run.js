// Answers one request of the determinism test with the module under test; the same in every host.
import { Evaluator, digests, transcript } from "./determinism.js";

const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

export function run(request) {
  if (request.digests) return digests(BigInt(request.digests.from), BigInt(request.digests.count));
  if (request.transcript) return transcript(BigInt(request.transcript.seed));
  const { frame, rootKeys, scope, nowMs, questions } = request.evaluate;
  const evaluator = new Evaluator(bytes(frame), rootKeys, 1, scope, nowMs);
  const answers = questions.map(({ flag, context, nowMs, chance, freshness }) => [
    evaluator.evaluate(flag, context, nowMs, BigInt(chance), freshness),
    evaluator.evaluateAll(context, nowMs, BigInt(chance), freshness),
  ]);
  evaluator.free();
  return answers;
}
