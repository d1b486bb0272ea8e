// Prints tests/golden/launchdarkly.json: what LaunchDarkly's own evaluator answers for many flags and contexts.
//
// Only needed to make the file anew; no test runs it. It connects to nothing. Install by hand beside it, without saving:
//   npm install --no-save @launchdarkly/node-server-sdk@9.13.7
//   node launchdarkly_vectors.mjs > ../golden/launchdarkly.json
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);
const { FileDataSourceFactory, init } = require('@launchdarkly/node-server-sdk');
const manifest = join(dirname(require.resolve('@launchdarkly/node-server-sdk')), '../../package.json');
const { version } = JSON.parse(readFileSync(manifest, 'utf8'));

const clause = (attribute, op, values, more = {}) => ({ attribute, op, values, ...more });
const both = (attribute, op, values, more = {}) => [
  clause(attribute, op, values, more),
  clause(attribute, op, values, { ...more, negate: true }),
];

// Clauses by family: a family's name begins its flags' keys.
const families = {
  in: [
    ['DE', 'FR'], ['5', 5], [1, true], [false, 0, ''], [1.5], [], [{ k: 1 }, ['x']], ['x', { k: 1 }],
  ].flatMap((values) => both('a', 'in', values)),
  key: [
    ...both('key', 'in', ['user-1', 'user-2']),
    ...both('key', 'startsWith', ['user-']),
    ...both('key', 'matches', ['^user-\\d$']),
    ...both('name', 'in', ['Ann']),
    clause('anonymous', 'in', [true]),
    ...both('kind', 'in', ['user', 'device']),
    ...both('kind', 'in', ['device']),
  ],
  text: ['startsWith', 'endsWith', 'contains'].flatMap((op) =>
    [['D'], ['E', '3'], [''], ['.', 5, null], [7]].flatMap((values) => both('a', op, values)),
  ),
  matches: [
    ['^D.$'], ['\\d+\\.\\d'], ['(DE|FR)$', '^x'], ['[^a-z]$'], ['^\\w{2}$'], ['5\\b'], ['^$'], ['a+?b*c'], [5],
  ].flatMap((values) => both('a', 'matches', values)),
  number: ['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'].flatMap((op) =>
    [[5], [0], [-1, 18], [1.5, 'x'], ['5'], []].flatMap((values) => both('a', op, values)),
  ),
  date: ['before', 'after'].flatMap((op) =>
    [['2030-01-01T00:00:00Z'], [1893456000000], ['2030-01-01T02:00:00.5+02:00', 0], []].flatMap((values) =>
      both('a', op, values),
    ),
  ),
  version: ['semVerEqual', 'semVerLessThan', 'semVerGreaterThan'].flatMap((op) =>
    [['1.2.3'], ['2'], ['1.2', '3.0.0'], ['2.0-rc.1'], ['0.9.0+build'], []].flatMap((values) => both('a', op, values)),
  ),
  reference: [
    ...both('a', 'in', ['DE'], { contextKind: 'user' }),
    ...both('/a', 'in', ['DE'], { contextKind: 'user' }),
    ...both('/a', 'in', ['slashed']),
    ...both('/a~1b', 'in', ['slashed'], { contextKind: 'user' }),
    ...both('a/b', 'in', ['slashed']),
    ...both('/x~0~1', 'in', ['tilde'], { contextKind: 'user' }),
  ],
  segment: [
    ['listed'], ['ruled'], ['nested'], ['nobody'], ['listed', 'ruled'], ['nobody', 'nested'], ['missing'], ['gone'],
    ['missing', 'listed'], [], ['everybody'], ['whole'],
  ].flatMap((values) => both('', 'segmentMatch', values)),
};
const segments = {
  listed: { included: ['user-1', 'user-2', ''], excluded: ['user-2', 'user-3'] },
  ruled: {
    included: [],
    excluded: ['user-1'],
    includedContexts: [{ contextKind: 'user', values: ['user-4'] }, { contextKind: 'device', values: [] }],
    rules: [{ clauses: [clause('a', 'in', ['DE', 5]), clause('b', 'in', ['x', 'yx'])] }, { clauses: both('b', 'in', [1]) }, { clauses: [clause('a', 'in', ['FR'])], weight: 0 }],
  },
  nested: { rules: [{ clauses: [clause('', 'segmentMatch', ['ruled', 'listed'], { negate: true }), clause('a', 'in', ['DE'])] }] },
  nobody: { rules: [{ clauses: null }] },
  everybody: { excluded: ['user-3'], rules: [{ clauses: [] }] },
  whole: { rules: [{ clauses: [clause('b', 'in', [1])], weight: 100_000 }, { clauses: [clause('a', 'in', ['x'])], weight: null }] },
  gone: { included: ['user-1'], deleted: true },
  weighted: { rules: [{ clauses: [], weight: 50_000 }] },
  devices: { includedContexts: [{ contextKind: 'device', values: ['d'] }] },
  big: { unbounded: true, generation: 1 },
  'above-weighted': { rules: [{ clauses: [clause('', 'segmentMatch', ['weighted'])] }] },
};
for (const [key, segment] of Object.entries(segments)) Object.assign(segment, { key, version: 1 });

// A small generator with a seed, so that the file is the same each time.
let state = 20_260_702;
const random = (count) => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * count);
};
const pick = (list) => list[random(list.length)];
const some = (list, least, most) => Array.from({ length: least + random(most - least + 1) }, () => pick(list));

const flags = {};
const boolean = { on: true, variations: [true, false], offVariation: 1, fallthrough: { variation: 1 }, salt: 's' };
const colors = { on: true, variations: ['red', 'blue', 'green'], offVariation: 0, fallthrough: { variation: 2 }, salt: 's' };
for (const [family, clauses] of Object.entries(families)) {
  clauses.forEach((only, at) => {
    flags[`${family}-${at}`] = { ...boolean, rules: [{ id: 'r', clauses: [only], variation: 0, trackEvents: false }] };
  });
}
const mixable = [
  ...families.in, ...families.key, ...families.reference, ...families.segment,
  clause('b', 'in', ['x', 1]), clause('b', 'in', ['x'], { negate: true }), clause('b', 'startsWith', ['y']),
];
for (let at = 0; at < 80; at += 1) {
  flags[`mixed-${at}`] = {
    ...colors,
    on: random(8) > 0,
    offVariation: pick([0, 1, null]),
    targets: pick([[], [{ variation: 0, values: ['user-1', 'user-5'] }, { variation: 1, values: ['user-1', 'user-6'] }]]),
    rules: Array.from({ length: 1 + random(3) }, (_, rule) => ({
      id: pick(['same', `rule-${rule}`, '', null]),
      clauses: some(mixable, 1, 3),
      ...pick([{ variation: 0 }, { variation: 1 }, { rollout: { variations: [{ variation: 1, weight: 100_000 }, { variation: 0, weight: 0 }] } }]),
    })),
    fallthrough: pick([{ variation: 2 }, { variation: 1 }, { rollout: { variations: [{ variation: 0, weight: 0 }, { variation: 2, weight: 100_000 }] } }]),
    prerequisites: pick([[], [], [{ key: 'in-0', variation: 0 }], [{ key: 'key-0', variation: 0 }, { key: 'plain-chained', variation: 0 }]]),
  };
}
const device = { contextKind: 'device' };
const roll = (...weights) => ({ rollout: { variations: weights.map((weight, variation) => ({ variation, weight })) } });
Object.assign(flags, {
  'plain-off': { ...colors, on: false },
  'plain-off-null': { ...colors, on: false, offVariation: null },
  'plain-on': { ...colors },
  'plain-number': { ...colors, variations: [1, 2.5, 3] },
  'plain-object': { ...colors, variations: [{ a: 1 }, [1], { b: null }] },
  'plain-chained': { ...boolean, prerequisites: [{ key: 'plain-on', variation: 2 }] },
  'plain-prerequisite-off': { ...boolean, prerequisites: [{ key: 'plain-off', variation: 2 }] },
  'plain-prerequisite-unmet': { ...boolean, prerequisites: [{ key: 'plain-on', variation: 1 }] },
  'plain-prerequisite-value': { ...boolean, prerequisites: [{ key: 'value-text', variation: 0 }] },
  'plain-targets': {
    ...colors,
    targets: [{ variation: 1, values: ['user-1', 'user-2'] }, { variation: 0, values: ['user-2', 'user-3'] }],
  },
  'plain-context-targets': {
    ...colors,
    targets: [{ variation: 1, values: ['user-1', 'user-2'] }, { variation: 0, values: ['user-2', 'user-3'] }, { variation: 2, values: ['user-4'] }],
    contextTargets: [{ contextKind: 'user', variation: 0, values: [] }, { ...device, variation: 1, values: [] }, { variation: 1, values: ['user-5'] }],
  },
  'plain-no-clauses': { ...boolean, rules: [{ id: 'r', clauses: null, variation: 0 }] },
  'plain-empty-clauses': { ...boolean, rules: [{ id: 'r', clauses: [], variation: 0 }] },
  'plain-all-left-over': { ...colors, fallthrough: roll(0, 0, 0) },
  'plain-first-takes-all': { ...colors, fallthrough: roll(100_000, 50_000) },
  'plain-deleted': { ...colors, deleted: true },
  'refused-rollout': { ...boolean, fallthrough: roll(50_000, 50_000) },
  'refused-rule-rollout': { ...boolean, rules: [{ id: 'r', clauses: [clause('a', 'in', ['DE'])], ...roll(1, 99_999) }] },
  'refused-experiment': { ...boolean, fallthrough: { rollout: { kind: 'experiment', ...roll(100_000).rollout } } },
  'refused-kind': { ...boolean, rules: [{ id: 'r', clauses: [clause('a', 'in', ['DE'], device)], variation: 0 }] },
  'refused-target-kind': { ...boolean, contextTargets: [{ ...device, variation: 0, values: ['d'] }] },
  'refused-nested': { ...boolean, rules: [{ id: 'r', clauses: [clause('/a/b', 'in', ['DE'], { contextKind: 'user' })], variation: 0 }] },
  'refused-reference': { ...boolean, rules: [{ id: 'r', clauses: [clause('/~1', 'in', ['x'], { contextKind: 'user' })], variation: 0 }] },
  'refused-null': { ...boolean, rules: [{ id: 'r', clauses: [clause('a', 'in', ['x', null])], variation: 0 }] },
  'refused-anonymous': { ...boolean, rules: [{ id: 'r', clauses: [clause('anonymous', 'in', [false])], variation: 0 }] },
  'refused-pattern': { ...boolean, rules: [{ id: 'r', clauses: [clause('a', 'matches', ['(?=D)'])], variation: 0 }] },
  'refused-operator': { ...boolean, rules: [{ id: 'r', clauses: [clause('a', 'soundsLike', ['D'])], variation: 0 }] },
  'refused-date': { ...boolean, rules: [{ id: 'r', clauses: [clause('a', 'before', ['2030-01-01'])], variation: 0 }] },
  'refused-segment': { ...boolean, rules: [{ id: 'r', clauses: [clause('', 'segmentMatch', ['above-weighted'])], variation: 0 }] },
  'refused-big-segment': { ...boolean, rules: [{ id: 'r', clauses: [clause('', 'segmentMatch', ['big'])], variation: 0 }] },
  'refused-off-prerequisite': { ...boolean, prerequisites: [{ key: 'plain-off', variation: 0 }] },
  'refused-missing-prerequisite': { ...boolean, prerequisites: [{ key: 'plain-deleted', variation: 0 }] },
  'refused-prerequisite': { ...boolean, prerequisites: [{ key: 'refused-rollout', variation: 0 }] },
  'refused-cycle': { ...boolean, prerequisites: [{ key: 'refused-cycle', variation: 0 }] },
  'refused-variation': { ...boolean, fallthrough: { variation: 2 } },
  'refused-types': { ...boolean, variations: [1, 'x'] },
});
for (const [key, flag] of Object.entries(flags)) Object.assign(flag, { key, version: 1, clientSide: false });
const flagValues = { 'value-text': 'hello', 'value-truth': true, 'value-number': 3, 'value-list': [1, 2] };

const values = [
  null, true, false, 0, 1, -1, 5, 18, 1.5, '', '5', 'DE', 'FR', 'de', 'x', 'slashed', '1.2.3', '1.2.4-rc.1', '2.0.0', '2.0.0-rc.1',
  '3.0.0', '0.9.0', '1.2', '2', 'v1.2.3', '2029-12-31T23:59:59.999Z', '2030-01-01T00:00:00.250Z', '2030-01-01', 1893456000000,
  1893456000001, ['DE'], ['x', 5, null], [], [true], [['x']], { k: 1 }, ['2.0.0'], ['DE', 18], [1893456000001],
];
const contexts = [];
for (const value of [undefined, ...values]) contexts.push(value === undefined ? { targetingKey: 'user-9' } : { targetingKey: 'user-9', a: value });
for (const key of ['user-1', 'user-2', 'user-3', 'user-4', 'user-5', 'user-6', 'device-1']) {
  for (const more of [{}, { a: 'DE', b: 'yx' }, { a: ['FR', 5], b: 'x', name: 'Ann' }, { a: 'x', b: 1, anonymous: true }, { a: 5, b: ['x', 'z'], anonymous: false }]) {
    contexts.push({ targetingKey: key, ...more });
  }
}
contexts.push({ targetingKey: 'u', '/a': 'slashed' }, { targetingKey: 'u', 'a/b': 'slashed' }, { targetingKey: 'u', 'x~/': 'tilde' });

const folder = mkdtempSync(join(tmpdir(), 'launchdarkly-'));
const path = join(folder, 'flags.json');
writeFileSync(path, JSON.stringify({ flags, flagValues, segments }));
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const client = init('sdk-none', {
  updateProcessor: new FileDataSourceFactory({ paths: [path] }).getFactory(),
  sendEvents: false,
  diagnosticOptOut: true,
  logger: silent,
});
await client.waitForInitialization({ timeout: 10 });
// A variation's index; null where there is none; false where the evaluation fails. The caller's default applies to both.
const ask = async (flag, { targetingKey, ...attributes }) => {
  const { variationIndex, reason } = await client.variationDetail(flag, { kind: 'user', key: targetingKey, ...attributes }, 'code');
  return reason.kind === 'ERROR' ? false : (variationIndex ?? null);
};
const answers = {};
for (const key of [...Object.keys(flags), ...Object.keys(flagValues)]) {
  answers[key] = [];
  for (const context of contexts) answers[key].push(await ask(key, context));
}
client.close();
rmSync(folder, { recursive: true });

const rows = (entries) => entries.map((entry) => `  ${JSON.stringify(entry)}`).join(',\n');
const members = (object) =>
  Object.entries(object).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`).join(',\n');
console.log(`{
"source": "@launchdarkly/node-server-sdk ${version}, Apache-2.0",
"now_ms": 1800000000000,
"contexts": [\n${rows(contexts)}\n],
"segments": {\n${members(segments)}\n},
"flagValues": {\n${members(flagValues)}\n},
"flags": {\n${members(flags)}\n},
"answers": {\n${members(answers)}\n}
}`);
process.exit(0);
