// The dashboard's pure parts: what differs, what merges, what is refused before anything is sent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import './typescript.mjs';

const part = (name) => import(`../src/model/${name}.ts`);
const { diff, listChange } = await part('diff');
const { merge } = await part('merge');
const { withField, same, pointerParts, pointerOf } = await part('json');
const { readNumber, readValue, plain, PERCENT } = await part('numbers');
const { paste } = await part('paste');
const { stopsOf, sentenceOf, ruleInWords } = await part('stops');
const { unknownParts } = await part('shape');
const { attributesOf, contextOf, curlOf } = await part('context');
const { duration, change, percent } = await part('words');
const { meterOf } = await part('fuse');
const { incomplete, pointerIn } = await part('incomplete');
const { mergePatch } = await part('diff');
const { parseFlag } = await part('shape');
const { actionsOf, standingOf, movesOf } = await part('fuse');
const { headline, peopleInWords, offInWords, stepsOf, isEverywhere } = await part('trip');
const { endOf } = await part('stops');
const { setField, moved } = await part('edits');
const { binsOf, daysAround, quantile, rowsOf, shadeOf } = await part('arrivals');
const { keyProblem, freeKey } = await part('templates');
const { newFlag, FUSE_TEMPLATES } = await part('templates');

const rule = (key, more = {}) => ({ key, conditions: [], split: [{ variation: 'on', weight: 1 }], ...more });
const flag = (more = {}) => ({ ...newFlag('free-shipping', 'boolean', ''), ...more });

test('a diff names fields, and finds rules by their names wherever they stand', () => {
  const before = flag({ rules: [rule('a'), rule('b', { percentage: 5 })] });
  const after = flag({ rules: [rule('b', { percentage: 25 }), rule('a')], description: 'x' });
  const changes = diff(before, after).map(({ path, kind, before: old, after: now }) => [path.join('/'), kind, old, now]);
  assert.deepEqual(changes, [
    ['rules/b/percentage', 'altered', 5, 25],
    ['rules', 'moved', ['a', 'b'], ['b', 'a']],
    ['description', 'added', undefined, 'x'],
  ]);
  assert.deepEqual(diff(before, structuredClone(before)), []);
  assert.deepEqual(listChange(['a', 'b'], ['b', 'c']), { added: ['c'], removed: ['a'] });
});

test('edits of different fields merge without a question', () => {
  const base = flag({ rules: [rule('a', { percentage: 1 }), rule('b')], targets: [{ variation: 'on', units: ['ada'] }] });
  const yours = structuredClone(base);
  yours.rules[0].percentage = 50;
  yours.targets[0].units = ['ada', 'bob'];
  const theirs = structuredClone(base);
  theirs.rules.unshift(rule('c'));
  theirs.targets[0].units = ['eve', 'ada'];
  theirs.description = 'theirs';
  const { result, conflicts, open } = merge(base, yours, theirs);
  assert.deepEqual(conflicts, []);
  assert.equal(open, 0);
  assert.deepEqual(result.rules.map(({ key, percentage }) => [key, percentage]), [['c', undefined], ['a', 50], ['b', undefined]]);
  assert.deepEqual(new Set(result.targets[0].units), new Set(['ada', 'bob', 'eve']));
  assert.equal(result.description, 'theirs');
});

test('the same field changed by both is asked, and a choice settles it', () => {
  const base = flag({ rules: [rule('a', { percentage: 1 })] });
  const yours = flag({ rules: [rule('a', { percentage: 50 })] });
  const theirs = flag({ rules: [rule('a', { percentage: 5 })] });
  const asked = merge(base, yours, theirs);
  assert.equal(asked.open, 1);
  assert.deepEqual(asked.conflicts[0].path, ['rules', 'a', 'percentage']);
  assert.equal(asked.result.rules[0].percentage, 5);
  const settled = merge(base, yours, theirs, new Map([[pointerOf(asked.conflicts[0].path), 'yours']]));
  assert.equal(settled.open, 0);
  assert.equal(settled.result.rules[0].percentage, 50);
});

test('a rule that one side removed and the other edited is asked, and one that one side removed alone is gone', () => {
  const base = flag({ rules: [rule('a'), rule('b')] });
  const yours = flag({ rules: [rule('b')] });
  const edited = flag({ rules: [rule('a', { percentage: 9 }), rule('b')] });
  assert.equal(merge(base, yours, edited).open, 1);
  assert.deepEqual(merge(base, yours, edited, new Map([['/rules/a', 'yours']])).result.rules.map(({ key }) => key), ['b']);
  assert.deepEqual(merge(base, yours, flag({ rules: [rule('a'), rule('b')], description: 'x' })).result.rules.map(({ key }) => key), ['b']);
});

test('two new orders of one list are asked, a new order and a new rule are not', () => {
  const list = (...keys) => flag({ rules: keys.map((key) => rule(key)) });
  const keys = ({ result }) => result.rules.map(({ key }) => key);
  assert.equal(merge(list('a', 'b', 'c'), list('b', 'a', 'c'), list('c', 'b', 'a')).open, 1);
  assert.deepEqual(keys(merge(list('a', 'b'), list('b', 'a'), list('a', 'b', 'd'))), ['b', 'a', 'd']);
});

test('names like __proto__ and constructor are names', () => {
  const odd = JSON.parse('{"key":"x","rules":[{"key":"__proto__","split":[]},{"key":"constructor","split":[]}],"__proto__":{"a":1}}');
  const changed = withField(odd, 'description', 'y');
  assert.deepEqual(Object.keys(changed), ['key', 'rules', '__proto__', 'description']);
  assert.equal({}.a, undefined);
  assert.ok(same(merge(odd, changed, odd).result, changed));
  assert.deepEqual(diff(odd, changed).map(({ path }) => path), [['description']]);
  assert.deepEqual(pointerParts('/rules/a~1b~0c'), ['rules', 'a/b~c']);
});

test('numbers are read strictly, with a sentence for what is refused', () => {
  for (const [text, value] of [['5', 5], [' 0.0001 ', 0.0001], ['100', 100], ['33.3333', 33.3333]]) assert.deepEqual(readNumber(text, PERCENT), { ok: true, value });
  for (const [text, says] of [['1,5', 'decimal point'], ['1e3', 'exponent'], ['NaN', 'not a number'], ['Infinity', 'not a number'], ['0x10', 'not a number'], ['', 'Type a number'],
    ['100.1', 'most is 100'], ['-1', 'least is 0'], ['0.00001', 'Steps are 0.0001'], ['5 %', 'not a number'], ['.', 'not a number'], ['١٢', 'not a number']]) {
    const read = readNumber(text, PERCENT);
    assert.equal(read.ok, false, text);
    assert.ok(read.why.includes(says), `${text}: ${read.why}`);
  }
  assert.equal(readValue('99999999999999999999').ok, false);
  assert.deepEqual(readValue('-2.5'), { ok: true, value: -2.5 });
  assert.equal(plain(0.0000001), '0.0000001');
});

test('a pasted list names its limit before anything is sent', () => {
  const taken = paste('ada\r\n bob \n\nada\n', ['eve']);
  assert.deepEqual(taken, { values: ['eve', 'ada', 'bob'], added: 2, repeated: 1 });
  const many = Array.from({ length: 100_000 }, (_, at) => `user-${at}`).join('\n');
  const refused = paste(many, ['eve']);
  assert.deepEqual(refused.values, ['eve']);
  assert.ok(refused.refused.includes('10,000 is the most'), refused.refused);
  assert.ok(paste('x'.repeat(5000), []).refused.includes('4,096 bytes'));
  assert.ok(paste('漢'.repeat(1400), []).refused.includes('4,096 bytes'));
  assert.equal(paste('😀‮<b>', []).added, 1);
});

test('a flag stops in the order in which it decides', () => {
  const order = stopsOf(flag()).map(({ id }) => id);
  assert.deepEqual(order, ['off', 'schedule', 'on_stale', 'prerequisites', 'targets', 'holdout', 'layer', 'rules', 'cohort', 'default']);
  assert.deepEqual(stopsOf(flag()).filter(({ used }) => used).map(({ id }) => id), ['default']);
});

test('the sentence says what a flag does', () => {
  const text = (one, circuit) => sentenceOf(one, 'production', circuit).map((clause) => clause.text).join(' ');
  assert.equal(text(flag()), 'In production this flag is on. Everyone gets “off”.');
  assert.equal(text(flag({ enabled: false })), 'In production this flag is off: everyone gets “off”.');
  const cohort = { phase: 1, slices: [{ arm: 'exposed', from: 0, to: 50_000, variation: 'on' }, { arm: 'control', from: 900_000, to: 1_000_000, variation: 'off' }] };
  const said = text(flag({ rules: [rule('a'), rule('b')], cohort, targets: [{ variation: 'on', units: ['a', 'b'] }] }), 'CLOSED');
  assert.equal(said, 'In production this flag is on. 2 units by name get “on”. 2 rules come before the cohort. Then 5 % see the feature and 10 % are kept as control. Everyone else gets “off”. A closed fuse watches it.');
  assert.ok(text(flag({ cohort }), 'OPEN').includes('the feature is served to nobody'));
  const conditions = [{ attribute: 'country', op: 'in', values: ['DE', 'FR'] }, { attribute: 'email', op: 'ends_with', values: ['@x.org'], negate: true }];
  assert.equal(ruleInWords(rule('a', { conditions, percentage: 25 })), 'When country is one of “DE” or “FR”, and email does not end with “@x.org”, for 25 % of them: serve “on”.');
});

test('a flag with parts that this build does not know says which', () => {
  assert.deepEqual(unknownParts(flag({ rules: [rule('a', { conditions: [{ attribute: 'x', op: 'in', values: [{ op: 'whatever', free: 1 }] }] })] })), []);
  assert.deepEqual(unknownParts(flag({ shadow: 1, rules: [{ ...rule('a', { conditions: [{ op: 'resembles' }] }), mood: 'new' }] })), ['/shadow', '/rules/0/conditions/0/op (resembles)', '/rules/0/mood']);
});

test('the playground asks for what the conditions mention', () => {
  const conditions = [{ attribute: 'age', op: 'at_least', values: [18] }, { attribute: 'roles', op: 'contains_any', values: ['a', 'b'] }, { op: 'in_segment', values: ['beta'] }];
  const fields = attributesOf(flag({ rules: [rule('a', { conditions })], bucket_by: 'account' }));
  assert.deepEqual(fields.map(({ name, kind }) => [name, kind]), [['targetingKey', 'text'], ['account', 'text'], ['age', 'number'], ['roles', 'list']]);
  assert.deepEqual(contextOf(fields, new Map([['targetingKey', 'u'], ['age', '18'], ['roles', 'a, c']])).context, { targetingKey: 'u', age: 18, roles: ['a', 'c'] });
  assert.equal(contextOf(fields, new Map([['age', '1e2']])).name, 'age');
  assert.ok(curlOf('http://x/v1/explain', { a: "it's" }).includes(`it'\\''s`));
});

test('numbers have units', () => {
  assert.deepEqual([0, 143, 2400, 59_900, 11_400_000, 90_000_000, 86_399_999].map((ms) => duration(ms)), ['0 ms', '143 ms', '2.4 s', '60 s', '3 h 10 min', '1 d 1 h', '24 h']);
  assert.equal(change(-0.231), '−23.1 %');
  assert.equal(change(null), 'unknown');
  assert.equal(percent(0.5), '0.5 %');
});

test('evidence is drawn by logarithms, harm and no harm apart', () => {
  assert.deepEqual(meterOf({ progress: 50, evidence: 14, evidence_needed: 200, recovery: 1, recovery_needed: 20 }), { harm: 50, noHarm: 0 });
  assert.equal(Math.round(meterOf({ progress: 0, evidence: 0.1, evidence_needed: 200, recovery: 20 ** 0.5, recovery_needed: 20 }).noHarm), 50);
});

test('templates of fuses weigh to one, and a new flag serves the old behaviour', () => {
  for (const template of FUSE_TEMPLATES) {
    const { guardrails } = template.policy;
    const weights = guardrails.map(({ weight }) => weight).filter((weight) => weight !== undefined);
    if (weights.length > 0) assert.ok(Math.abs(weights.reduce((sum, weight) => sum + weight, 0) - 1) < 1e-9, template.id);
  }
  for (const type of ['boolean', 'string', 'integer', 'float', 'object']) {
    const made = newFlag('k', type, '');
    assert.equal(made.default_variation, made.off_variation);
    assert.equal(made.rules, undefined);
  }
});

test('a refusal is shown at the item that its sentence names', () => {
  const doc = flag({ rules: [rule('a'), rule('b "x"')] });
  assert.equal(pointerIn('/rules', 'flag "f": rules["a"].conditions[0]: values has 0 entries', doc), '/rules/0/conditions/0/values');
  assert.equal(pointerIn('/rules', 'flag "f": rules["b \\"x\\""].split names the variation "zz"', doc), '/rules/1/split');
  assert.equal(pointerIn('/rules', 'rules["nope"]: percentage is 101', doc), '/rules');
  assert.equal(pointerIn('/salt', 'salt is too long', doc), '/salt');
});

test('a merge patch says what changed and no more, with null for what goes', () => {
  const base = flag({ description: 'x', layer: { key: 'l', from: 0, to: 5 } });
  const { description: _, ...rest } = base;
  assert.deepEqual(mergePatch(base, { ...rest, enabled: false, layer: { key: 'l', from: 0, to: 9 } }), { enabled: false, layer: { to: 9 }, description: null });
  assert.deepEqual(mergePatch(base, base), {});
});

test('JSON that is no flag is refused with what is wrong, and a flag keeps its key', () => {
  const text = (more) => JSON.stringify({ ...flag(), ...more });
  assert.equal(parseFlag(text({}), 'free-shipping').ok, true);
  assert.ok(parseFlag('{', 'free-shipping').why.startsWith('This is not JSON'));
  assert.equal(parseFlag(text({ rules: [{ key: 'a' }] }), 'free-shipping').why, '/rules/0/split is missing.');
  assert.equal(parseFlag(text({ targets: [{ variation: 'on', units: [1] }] }), 'free-shipping').why, '/targets/0/units/0 has to be a text.');
  assert.ok(parseFlag(text({ key: 'other' }), 'free-shipping').why.includes('has to stay'));
});

test('a fuse says where it stands, what moves it, and what may be done', () => {
  const stages = [{ exposed_percent: 1, control_percent: 4, began_ms: 0 }, { exposed_percent: 5, control_percent: 12, began_ms: null }];
  const attempt = { number: 1, alpha: 0.01, stage: 1, stages, exposed_percent: 1, ramp_held: false, next: { stage: 2, exposed_percent: 5, opens_ms: 11_400_000, waits_for: ['its time'] } };
  const fuse = { circuit: 'CLOSED', opened_by_hand: false, acted_ms: null, attempt, policy: { mode: 'anytime' } };
  assert.equal(standingOf(fuse, 0), 'CLOSED · stage 1 of 2 · 1 % see it · next step to 5 % in 3 h 10 min at the earliest');
  assert.deepEqual(actionsOf(fuse), ['trip', 'hold', 'advance', 'reset']);
  assert.deepEqual(actionsOf({ ...fuse, attempt: { ...attempt, ramp_held: true } }), ['trip', 'resume', 'advance', 'reset']);
  const open = { ...fuse, circuit: 'OPEN', opened_by_hand: true };
  assert.deepEqual(actionsOf(open), ['half-open', 'close']);
  assert.equal(standingOf(open, 0), 'OPEN · nobody sees the feature');
  assert.ok(movesOf(open)[0].words.includes('opened by hand'));
});

test('a question ends at the stop of its last step', () => {
  assert.deepEqual(endOf([{ step: 'target', text: '' }, { step: 'rule', text: '' }, { step: 'split', text: '' }], 'beta'), { stop: 'rules', rule: 'beta' });
  assert.deepEqual(endOf([{ step: 'off', text: '' }], undefined), { stop: 'off', rule: undefined });
  assert.equal(endOf([], undefined), null);
  assert.equal(endOf([{ step: 'cohort', text: 'in no arm' }], undefined).stop, 'default');
  assert.equal(endOf([{ step: 'cohort', text: '' }], undefined, 'exposed').stop, 'cohort');
});

test('edits keep what they do not name', () => {
  const odd = flag({ shadow: { a: 1 } });
  assert.deepEqual(setField(odd, 'description', 'x'), { ...odd, description: 'x' });
  assert.equal('rules' in setField(flag({ rules: [rule('a')] }), 'rules', []), false);
  assert.deepEqual(moved(['a', 'b', 'c'], 2, 0), ['c', 'a', 'b']);
  assert.deepEqual(moved(['a'], 0, -1), ['a']);
  assert.equal(freeKey('rule', ['rule-1', 'rule-3']), 'rule-2');
  assert.ok(keyProblem('x'.repeat(257)).includes('256'));
  assert.equal(keyProblem('__proto__'), undefined);
});

test('a trip is told with who saw it and whether it is off everywhere', () => {
  const at = Date.parse('2026-11-30T14:03:07Z');
  const evidence = [{ metric: 'conversion', delta: -0.2, anytime: { change: -0.23, interval: { lower: -0.31, upper: -0.14 } } }];
  const people = { exposed: 1204, control: 4816, eligible_estimate: 260_000 };
  const story = { at_ms: at, actor: 'fuse', reason: 'harm', metrics: ['conversion'], slices: [], version: '1.4', steps: [{ step: 'committed', at_ms: at }, { step: 'stored', at_ms: at + 61, region: 'eu' }], people, evidence, replicas_acked: 1, replicas_total: 2 };
  assert.equal(headline(story), 'At 14:03:07 UTC the fuse tripped: conversion −23 % against control.');
  assert.equal(peopleInWords(story), '1,204 of about 260,000 eligible people saw it (0.46 %).');
  assert.equal(offInWords(story), '1 of 2 replicas have it so far.');
  assert.deepEqual(stepsOf(story).map(({ id, at_ms }) => [id, at_ms]), [['committed', at], ['stored-eu', at + 61], ['guaranteed_live', null]]);
  const done = { ...story, replicas_acked: 2, steps: [...story.steps, { step: 'guaranteed_live', at_ms: at + 393 }] };
  assert.equal(isEverywhere(done), true);
  assert.equal(offInWords(done), 'It is off everywhere: 2 of 2 replicas, guaranteed 393 ms after it was decided.');
  assert.equal(headline({ ...story, actor: 'user:ada', metrics: [], reason: 'manual_trip', note: 'pages crash', slices: [] }), 'At 14:03:07 UTC ada tripped the fuse: pages crash.');
});

test('what an edit lacks is told at its field, and what only the server knows is left to it', () => {
  const variations = [{ key: 'on', value: true }, { key: 'off', value: false }];
  const of = (rest) => incomplete({ key: 'f', value_type: 'boolean', variations, ...rest });
  const rule = (condition, rest = {}) => ({ rules: [{ key: 'r', conditions: [condition], split: [{ variation: 'on' }], ...rest }] });
  const whole = rule({ attribute: 'plan', op: 'in', values: ['pro'] });
  assert.equal(of(whole).size, 0);
  assert.equal(of(rule({ op: 'in_segment', values: ['testers'] })).size, 0);
  assert.equal(of(rule({ attribute: 'plan', op: 'exists' })).size, 0);
  assert.equal(of(rule({ attribute: 'name', op: 'matches', values: ['('] })).size, 0, 'patterns are the server\u2019s');
  const rows = [
    [rule({ attribute: '', op: 'in', values: ['pro'] }), '/rules/0/conditions/0/attribute', /Name an attribute/],
    [rule({ attribute: 'plan', op: 'in', values: [] }), '/rules/0/conditions/0/values', /Add a value/],
    [rule({ attribute: 'age', op: 'at_least', values: ['old'] }), '/rules/0/conditions/0/values', /with a number/],
    [rule({ attribute: 'age', op: 'at_least', values: [1, 2] }), '/rules/0/conditions/0/values', /with one value/],
    [rule({ attribute: 'v', op: 'semver_at_least', values: ['2.1'] }), '/rules/0/conditions/0/values', /three numbers/],
    [rule({ attribute: 't', op: 'after', values: ['tomorrow'] }), '/rules/0/conditions/0/values', /with its zone/],
    [rule({ attribute: 'plan', op: 'in', values: ['pro'] }, { key: '' }), '/rules/0/key', /needs a name/],
    [{ rules: [...whole.rules, ...whole.rules] }, '/rules/1/key', /Another rule/],
    [rule({ attribute: 'plan', op: 'in', values: ['pro'] }, { split: [{ variation: 'on', weight: 0 }] }), '/rules/0/split', /Serve something/],
    [{ prerequisites: [{ flag: 'other', variations: [] }] }, '/prerequisites/0', /variations/],
    [{ schedule: { from_ms: 2, until_ms: 1 } }, '/schedule', /begin before/],
    [{ layer: { key: 'l', from: 5, to: 5 } }, '/layer', /before the last/],
  ];
  for (const [rest, pointer, says] of rows) assert.match(of(rest).get(pointer) ?? '', says, pointer);
  assert.equal(of(rule({ attribute: 'v', op: 'semver_at_least', values: ['2.1'], lenient: true })).size, 0);
});

test('arrivals are put into bins, quantiles and shades, and what has not arrived into none', () => {
  const times = Array.from({ length: 100 }, (_, at) => 101 + at);
  assert.deepEqual([quantile(times, 0), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1)], [101, 150, 199, 200]);
  assert.equal(quantile([7], 0.99), 7);
  assert.equal(quantile([], 0.5), null);
  assert.deepEqual(times, [...times].sort((one, other) => one - other), 'the numbers stay where they are');
  const bins = binsOf([0, 1, 120, 130, 40_000]);
  assert.equal(bins.reduce((sum, bin) => sum + bin.count, 0), 5);
  assert.equal(bins[0].count, 2);
  const holding = bins.find((bin) => bin.fromMs <= 120 && 120 < bin.toMs);
  assert.equal(holding.count, bins.find((bin) => bin.fromMs <= 130 && 130 < bin.toMs) === holding ? 2 : 1);
  for (const [at, bin] of bins.entries()) assert.ok(at === 0 || Math.abs(bin.fromMs - bins[at - 1].toMs) < 1e-6 * bin.fromMs, 'bins lie side by side');
  assert.deepEqual(binsOf([]), []);
  assert.deepEqual([null, 0, 100, 101, 250, 1_000, 1_001, 10_001].map(shadeOf), [null, 0, 0, 1, 1, 2, 3, 4]);
});

test('the days around now begin at midnight, a week either way, and what overlaps lies in rows of its own', () => {
  const now = Date.parse('2026-03-29T12:00:00Z');
  const days = daysAround(now);
  assert.equal(days.length, 16);
  assert.ok(days.every((ms) => new Date(ms).getHours() === 0));
  assert.ok(days[7] <= now && now < days[8]);
  const span = (from_ms, to_ms) => ({ from_ms, to_ms });
  assert.deepEqual(rowsOf([span(20, 30), span(0, 10), span(5, 25), span(10, 20)]), [0, 0, 1, 0]);
  assert.deepEqual(rowsOf([]), []);
});
