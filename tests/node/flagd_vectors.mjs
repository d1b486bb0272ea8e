// Prints tests/golden/flagd.json: what flagd's own evaluator answers for many definitions and contexts.
//
// Only needed to make the file anew; no test runs it. Install by hand beside it, without saving:
//   npm install --no-save @openfeature/flagd-core@4.0.1 @openfeature/core@1.12.0
//   node flagd_vectors.mjs > ../golden/flagd.json
import { createRequire } from 'node:module';
import { FlagdCore } from '@openfeature/flagd-core';

const version = createRequire(import.meta.url)('@openfeature/flagd-core/package.json').version;
const NOW_MS = 1_800_000_000_500;
Date.now = () => NOW_MS;

const a = { var: 'a' };
const b = { var: 'b' };
const timestamp = { var: '$flagd.timestamp' };
const NOW = Math.floor(NOW_MS / 1000);

// Conditions on one attribute, by family: a family's name begins its flags' keys.
const families = {
  loose: ['DE', '', '5', '0', '1', 'true', '1.2.3', true, 1, 5, 18, -1, 1.5].flatMap((literal) => [
    { '==': [a, literal] },
    { '!=': [a, literal] },
    { '==': [literal, a] },
  ]),
  loose_default: [0, false, 1, '0', ''].flatMap((literal) =>
    [0, 1, 'x', '5', true, false].map((fallback) => ({ '==': [{ var: ['a', fallback] }, literal] })),
  ),
  strict: ['DE', '', '5', true, false, 0, 1, 5, 1.5, null].flatMap((literal) => [
    { '===': [a, literal] },
    { '!==': [a, literal] },
  ]),
  order: [18, 5, 1, 0.5, -1, -0.5, 1e3, true].flatMap((literal) => [
    { '<': [a, literal] },
    { '<=': [a, literal] },
    { '>': [a, literal] },
    { '>=': [a, literal] },
    { '<': [literal, a] },
    { '>=': [literal, a] },
    { '!': { '<': [a, literal] } },
  ]),
  order_zero: [{ '<': [a, 0] }, { '>': [a, 0] }, { '<': [{ var: ['a', 7] }, 0] }, { '<=': [{ var: ['a', 7] }, 0] }],
  between: [{ '<': [1, a, 18] }, { '<=': [5, a, 18] }, { '<=': [-1, a, 1] }],
  list: [
    { in: [a, ['DE', 'FR']] },
    { in: [a, [1, '5', true, 18]] },
    { in: [a, ['DE', null]] },
    { in: [a, []] },
    { in: [a, [0, '', false]] },
    { in: [{ var: ['a', 'DE'] }, ['DE']] },
    { '!': { in: [a, ['DE', 1]] } },
  ],
  found: [{ in: ['DE', a] }, { in: ['1', a] }, { '!': { in: ['.', a] } }, { in: ['x', { var: ['a', 'xy'] }] }],
  start: [{ starts_with: [a, 'D'] }, { starts_with: [a, ''] }, { '!': { starts_with: [a, '1.'] } }, { starts_with: [{ var: ['a', 'Dx'] }, 'D'] }],
  end: [{ ends_with: [a, 'E'] }, { ends_with: [a, '3'] }, { '!!': { ends_with: [a, 'E'] } }],
  version: ['=', '!=', '<', '<=', '>', '>=', '^', '~'].flatMap((relation) =>
    ['1.2.3', 'v2', '1.2', '2.0.0-rc.1', '0.9.0+build'].map((bound) => ({ sem_ver: [a, relation, bound] })),
  ),
  truth: [a, { '!': a }, { '!': [a] }, { '!!': a }, { or: [a, b] }, { and: [a, b] }, { and: [{ '!': b }, a] }, { var: ['a', 1] }, { var: ['a', 0] }],
  time: [
    { '<': [timestamp, NOW] },
    { '<=': [timestamp, NOW] },
    { '>': [timestamp, NOW] },
    { '>=': [timestamp, NOW] },
    { '>=': [NOW + 1, timestamp] },
    { '<': [NOW - 5, timestamp, NOW + 5] },
    { and: [{ '===': [a, 'DE'] }, { '!': { '<': [timestamp, NOW] } }] },
  ],
  flag_key: [
    { in: [{ var: '$flagd.flagKey' }, ['flag_key-0', 'other']] },
    { '==': [{ var: '$flagd.flagKey' }, 'other'] },
  ],
};

// A small generator with a seed, so that the file is the same each time.
let state = 20_260_701;
const random = (count) => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * count);
};
const pick = (list) => list[random(list.length)];
const leaves = [
  { '===': [a, 'DE'] },
  { '!==': [b, 'x'] },
  { in: [a, ['DE', 1, true]] },
  { '>=': [b, 5] },
  { '<': [b, 18] },
  { starts_with: [a, 'D'] },
  { ends_with: [b, 'x'] },
  { '==': [b, 'x'] },
  { '!': a },
  { '!!': b },
  { $ref: 'shared' },
  true,
  false,
];
const condition = (depth) => {
  if (depth === 0) return pick(leaves);
  const parts = () => Array.from({ length: 1 + random(2) }, () => condition(depth - 1));
  return pick([
    () => ({ and: parts() }),
    () => ({ or: parts() }),
    () => ({ '!': condition(depth - 1) }),
    () => ({ if: [condition(depth - 1), condition(depth - 1), condition(0)] }),
    () => pick(leaves),
  ])();
};
const answer = (depth) => {
  if (depth === 0) return pick(['red', 'blue', 'green', null]);
  return pick([
    () => ({ if: [condition(2), answer(depth - 1), answer(depth - 1)] }),
    () => ({ if: [condition(1), answer(depth - 1), condition(1), answer(0), answer(0)] }),
    () => ({ if: [condition(2), answer(0)] }),
    () => answer(0),
  ])();
};

const flags = {};
const boolean = { state: 'ENABLED', variants: { on: true, off: false }, defaultVariant: 'off' };
for (const [family, conditions] of Object.entries(families)) {
  conditions.forEach((condition, at) => {
    flags[`${family}-${at}`] = { ...boolean, targeting: { if: [condition, 'on', 'off'] } };
  });
}
const colors = { state: 'ENABLED', variants: { red: '#f00', blue: '#00f', green: '#0f0' }, defaultVariant: 'red' };
for (let at = 0; at < 120; at += 1) flags[`mixed-${at}`] = { ...colors, targeting: answer(2) ?? {} };
const truths = { state: 'ENABLED', variants: { true: 1, false: 0, other: 7 }, defaultVariant: 'other' };
Object.assign(flags, {
  'answer-comparison': { ...truths, targeting: { '===': [a, 'DE'] } },
  'answer-not': { ...truths, targeting: { '!': [b] } },
  'answer-in': { ...truths, targeting: { in: [a, ['DE']] } },
  'answer-booleans': { ...truths, targeting: { if: [{ '===': [a, 1] }, true, { '===': [a, 5] }, false] } },
  'answer-sole-share': { ...colors, targeting: { fractional: [['blue', 100], ['red', 0]] } },
  'answer-sole-share-by': {
    ...colors,
    targeting: { if: [a, { fractional: [{ cat: [{ var: '$flagd.flagKey' }, { var: 'a' }] }, ['green', 1]] }, 'blue'] },
  },
  'plain-static': { ...colors },
  'plain-empty-targeting': { ...colors, targeting: {} },
  'plain-disabled': { ...colors, state: 'DISABLED', targeting: { if: [a, 'blue'] } },
  'plain-no-default': { state: 'ENABLED', variants: { x: { k: 1 }, y: { k: 2 } }, targeting: { if: [a, 'x', 'y'] } },
  'code-static': { state: 'ENABLED', variants: { x: 1, y: 2 } },
  'code-null': { state: 'ENABLED', variants: { x: 1, y: 2 }, defaultVariant: null, targeting: {} },
  'code-empty': { state: 'ENABLED', variants: { x: 1, y: 2 }, defaultVariant: '', targeting: { if: [false, 'x'] } },
  'code-then': { state: 'ENABLED', variants: { x: 1, y: 2 }, targeting: { if: [{ '===': [a, 'DE'] }, 'x'] } },
  'code-middle': {
    state: 'ENABLED', variants: { x: 1, y: 2 },
    targeting: { if: [{ '===': [a, 'DE'] }, null, { '===': [b, 'x'] }, 'x', { or: [{ '!': a }, { '<': [b, 18] }] }, null, b, 'y'] },
  },
  'code-all': { state: 'ENABLED', variants: { x: 1, y: 2 }, targeting: { if: [{ '===': [b, 5] }, 'y', true, null, 'x'] } },
  'code-nested': {
    state: 'ENABLED', variants: { x: 1, y: 2 },
    targeting: { if: [{ '!!': b }, { if: [{ in: [a, ['DE', 1]] }, null, { starts_with: [b, 'y'] }, 'y'] }, 'x'] },
  },
  'code-comparison': { state: 'ENABLED', variants: { true: 1, false: 0 }, targeting: { '===': [a, 'DE'] } },
  'code-sole-share': { state: 'ENABLED', variants: { x: 1, y: 2 }, targeting: { fractional: [['x', 100], ['y', 0]] } },
  'refused-zero': { ...boolean, targeting: { if: [{ '==': [a, false] }, 'on', 'off'] } },
  'refused-split': { ...boolean, targeting: { fractional: [['on', 50], ['off', 50]] } },
  'refused-path': { ...boolean, targeting: { if: [{ var: 'user.plan' }, 'on', 'off'] } },
});

const values = [
  null, true, false, 0, 1, -1, 5, 18, 17.5, 1000, '', '0', '1', '5', '18', '18.0', ' 5 ', '0x12', '1e3', 'DE', 'de', 'x',
  'true', 'null', '1.2.3', '1.2.4-rc.1', '2.0.0', '2.0.0-rc.1', '1.9.9+build', '0.9.0', '1.2', 'v1.2.3', 'DE,FR',
  ['DE'], ['x', 1], [], { k: 1 },
];
const contexts = [{}, { targetingKey: 'user-1' }, { targetingKey: '' }];
for (const value of values) contexts.push({ a: value });
for (const value of [null, true, 0, 5, 17, 18, 'x', '', '5', 'yx']) {
  for (const other of [undefined, 'DE', 'Dx', 1, true, false]) {
    contexts.push(other === undefined ? { b: value, targetingKey: 'u' } : { a: other, b: value });
  }
}

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const core = new FlagdCore(undefined, silent);
const definitions = {
  flags,
  $evaluators: { shared: { or: [{ '===': [a, 1] }, { in: [b, ['x', 5]] }] } },
};
core.setConfigurations(JSON.stringify(definitions));
// A variant; null for the caller's default; false where the evaluation fails, after which that default applies too.
const ask = (flag, context) => {
  if (flag.state === 'DISABLED') return null;
  const { variant, errorCode } = flag.evaluate(context, silent);
  if (errorCode) return false;
  return variant ?? null;
};
const answers = {};
for (const [key, flag] of core.getFlags()) answers[key] = contexts.map((context) => ask(flag, context));

const rows = (entries) => entries.map((entry) => `  ${JSON.stringify(entry)}`).join(',\n');
const members = (object) =>
  Object.entries(object).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`).join(',\n');
console.log(`{
"source": "@openfeature/flagd-core ${version}, Apache-2.0",
"now_ms": ${NOW_MS},
"evaluators": {\n${members(definitions.$evaluators)}\n},
"contexts": [\n${rows(contexts)}\n],
"flags": {\n${members(flags)}\n},
"answers": {\n${members(answers)}\n}
}`);
