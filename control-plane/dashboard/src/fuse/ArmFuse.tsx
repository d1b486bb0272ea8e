// Arm a fuse, or change its policy: a template, its numbers, what speaks against it, then who flips. Nothing is stored before that was seen.
import { Alert, Button, Group, NativeSelect, Radio, SimpleGrid, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { asProblem, type ChangeHeaders, type Place, type Schemas, touching, useChange } from '../api';
import { FaultsProvider, useReport, useUnread } from '../flags/faults';
import { FieldDiff } from '../flags/FieldDiff';
import { RehearsedSheet } from '../flags/RehearsedSheet';
import { Chip, ProblemNote, Row, Rows, Section, type Tone, useText } from '../parts';
import { diff } from '../model/diff.ts';
import { field, isObject, type Json, type JsonObject, type Read, readJson, same, withField } from '../model/json.ts';
import { FUSE_TEMPLATES, policyBy } from '../model/templates.ts';
import { percent } from '../model/words.ts';
import { NumberField } from '../flags/inputs';
import { setPart } from '../model/edits.ts';
import { arm, type Findings, lint, rehearseArming, rehearseWeek } from './reads';

interface ArmFuseProps {
  place: Place;
  flag: Schemas['Flag'];
  /** The policy in force and its tag, where there is one. */
  armed: { policy: JsonObject; etag: string | null } | null;
  onDone?: () => void;
  /** While the review sheet is open it has to stay, whatever is known of the fuse by then. */
  onSheet?: (isOpen: boolean) => void;
}

export function ArmFuse({ place, flag, armed, onDone, onSheet }: ArmFuseProps) {
  const variations = flag.variations.map((one) => one.key);
  const control = flag.default_variation ?? flag.off_variation ?? variations[1] ?? '';
  const treatment = variations.find((one) => one !== control && one !== flag.off_variation) ?? variations[0] ?? '';
  const [template, setTemplate] = useState(armed === null ? 'conversion' : '');
  const [policy, setPolicy] = useState<JsonObject>(() => armed?.policy ?? policyBy('conversion', treatment, control) ?? {});
  const [isReviewed, setReviewed] = useState(false);
  const unread = useUnread();
  const [settledPolicy] = useDebouncedValue(policy, 350);
  const checked = useQuery({
    queryKey: ['lint', place.project, place.environment, flag.key, settledPolicy],
    // Of a policy in force the rehearsal says the same, and knows which state it is made for.
    queryFn: ({ signal }): Promise<Findings> => (armed === null ? lint(place, flag.key, settledPolicy, signal) : rehearseArming(place, flag.key, settledPolicy, armed.etag === null ? {} : { 'if-match': armed.etag })),
    enabled: !isReviewed, retry: false, gcTime: 10_000,
  });
  const week = useMutation({ mutationFn: () => rehearseWeek(place, flag.key, policy, armed?.etag ?? null) });
  const problem = checked.error === null ? null : asProblem(checked.error);
  const faults = useMemo(() => new Map((problem?.body.errors ?? []).flatMap((fault) => (fault.pointer === undefined ? [] : [[fault.pointer.replace(/^\/policy\//, '/'), fault.detail] as const]))), [problem]);
  const choose = (id: string) => {
    setTemplate(id);
    setPolicy(policyBy(id, String(policy.treatment_variation ?? treatment), String(policy.control_variation ?? control)) ?? policy);
  };
  const isRefused = problem !== null || (checked.data?.lint ?? []).some((finding) => finding.severity === 'refused');
  const canReview = !isRefused && checked.data !== undefined && settledPolicy === policy && unread.count === 0;

  return (
    <FaultsProvider server={faults} unread={unread}>
      <Stack gap="md">
        <Section title={armed === null ? 'What shall it watch?' : 'Another template'} about={armed === null ? 'Templates to begin from; every number can be changed.' : 'Takes the place of the numbers below.'}>
          <Radio.Group value={template} onChange={choose} aria-label="Template">
            <SimpleGrid cols={{ base: 1, sm: 2, md: 3 }} spacing="xs">
              {FUSE_TEMPLATES.map((one) => (
                <Radio.Card key={one.id} value={one.id} p="sm" radius="md" className="template">
                  <Group wrap="nowrap" align="flex-start" gap="sm"><Radio.Indicator /><div><Text size="sm" fw={600}>{one.title}</Text><Text size="xs" c="dimmed">{one.says}</Text></div></Group>
                </Radio.Card>
              ))}
            </SimpleGrid>
          </Radio.Group>
        </Section>
        <Section title="Numbers"><PolicyForm policy={policy} variations={variations} onChange={setPolicy} /></Section>
        <PolicyDocument policy={policy} onChange={setPolicy} />
        <Section title="What speaks against it" actions={<Button variant="default" loading={week.isPending} disabled={isRefused} onClick={() => week.mutate()}>Rehearse with last week</Button>}>
          {problem !== null ? <ProblemNote problem={problem} retry={() => void checked.refetch()} /> : checked.data === undefined ? <Text size="sm" c="dimmed">Asking the server …</Text> : <LintList answer={checked.data} />}
          {week.error === null ? null : <ProblemNote problem={asProblem(week.error)} />}
          {week.data === undefined ? null : <Alert color="blue" py="xs"><Text size="sm">{week.data.summary}</Text></Alert>}
        </Section>
        <Group justify="flex-end"><Button disabled={!canReview} onClick={() => { setReviewed(true); onSheet?.(true); }}>Review</Button></Group>
        {isReviewed ? <ArmSheet place={place} flagKey={flag.key} policy={policy} armed={armed} onClose={() => { setReviewed(false); onSheet?.(false); }} {...(onDone === undefined ? {} : { onDone })} /> : null}
      </Stack>
    </FaultsProvider>
  );
}

function readPolicy(text: string): Read<JsonObject> {
  const read = readJson(text, 'a policy');
  if (!read.ok) return read;
  return isObject(read.value) ? { ok: true, value: read.value } : { ok: false, why: 'A policy is an object.' };
}

function PolicyDocument({ policy, onChange }: { policy: JsonObject; onChange: (policy: JsonObject) => void }) {
  const { text, why, type } = useText<JsonObject>({ value: policy, onChange, print: (one) => JSON.stringify(one, null, 2), read: readPolicy, isSame: same });
  useReport(why);
  return (
    <details>
      <summary><Text span size="sm" fw={600}>Every field, as JSON</Text></summary>
      <Textarea mt="xs" aria-label="Policy as JSON" value={text} rows={16} spellCheck={false} error={why} classNames={{ input: 'mono' }} onChange={(event) => type(event.currentTarget.value)} />
    </details>
  );
}

interface ArmSheetProps { place: Place; flagKey: string; policy: JsonObject; armed: ArmFuseProps['armed']; onClose: () => void; onDone?: () => void }

function ArmSheet({ place, flagKey, policy, armed, onClose, onDone }: ArmSheetProps) {
  const headers: ChangeHeaders = armed === null ? { 'if-none-match': '*' } : armed.etag === null ? {} : { 'if-match': armed.etag };
  const queries = useQueryClient();
  const queryKey = ['arm', place.project, place.environment, flagKey, policy];
  const change = useChange(async () => {
    const told = queries.getQueryData<Schemas['Rehearsal']>(queryKey);
    return (await arm(place, flagKey, policy, told?.confirmation_needed === true && told.confirmation != null ? { ...headers, 'x-flagfuse-confirm': told.confirmation } : headers)).data;
  }, touching(place, 'fuse', 'fuses', 'flag', 'flags', 'audit', 'verdicts'));
  // Once it is sent, its state is another one.
  const rehearsal = useQuery({ queryKey, queryFn: () => rehearseArming(place, flagKey, policy, headers), enabled: change.state.step === 'idle', retry: false, gcTime: 0 });
  const attempt = rehearsal.data?.attempt;
  const leave = () => { onClose(); if (change.state.step === 'done') onDone?.(); };
  return (
    <RehearsedSheet
      title={armed === null ? 'Arm the fuse' : 'Change the policy'} done="Armed" verb={armed === null ? 'Arm' : 'Publish'} leave="Go on editing" hasKeys place={place} change={change} rehearsal={rehearsal} isReady={rehearsal.data !== undefined} onClose={leave}
      fields={attempt === undefined ? null : <Text size="sm">{`Begins attempt ${attempt.number}, which may spend ${percent(attempt.alpha * 100)} of error${attempt.because_of === undefined ? '' : `, because ${attempt.because_of.join(', ')} changed`}.${attempt.kept_percent > 0 ? ` ${percent(attempt.kept_percent)} of the units keep the feature and are counted no more.` : ''}`}</Text>}
    >
      {armed === null ? null : <FieldDiff changes={diff(armed.policy, policy)} />}
    </RehearsedSheet>
  );
}

const PERCENT = { min: -99, max: 10_000, step: 0.01, unit: '%' };
const SHARE = { min: 0.0001, max: 90, step: 0.0001, unit: '%' };
const WEIGHT = { min: 0.001, max: 1, step: 0.001, unit: 'of 1' };

interface PolicyFormProps { policy: JsonObject; variations: readonly string[]; onChange: (policy: JsonObject) => void }

const numberOf = (value: Json | undefined) => (typeof value === 'number' ? value : undefined);
/** A share as a percentage, without the dust of binary fractions. */
const toPercent = (value: number | undefined) => (value === undefined ? undefined : Math.round(value * 1_000_000) / 10_000);

/** The numbers that people set most, as fields; everything else is in the document. */
function PolicyForm({ policy, variations, onChange }: PolicyFormProps) {
  const guardrails = Array.isArray(policy.guardrails) ? policy.guardrails.filter(isObject) : [];
  const set = (name: string, value: Json | undefined) => onChange(withField(policy, name, value));
  const setGuardrail = (at: number, name: string, value: Json | undefined) => set('guardrails', guardrails.map((one, place) => (place === at ? setPart(one, name, value) : one)));
  const hasRamp = field(policy, 'ramp') !== undefined;
  return (
    <Stack gap="sm">
      <Group gap="md" align="flex-start">
        <NativeSelect label="The feature is" size="sm" w={150} data={[...variations]} value={String(policy.treatment_variation ?? '')} onChange={(event) => set('treatment_variation', event.currentTarget.value)} />
        <NativeSelect label="Control gets" size="sm" w={150} data={[...variations]} value={String(policy.control_variation ?? '')} onChange={(event) => set('control_variation', event.currentTarget.value)} />
        {hasRamp ? <Text size="sm" c="dimmed" maw={260} pt={24}>Grows by stages: 1, 5, 10, 25, 50 % unless the document says otherwise.</Text> : (
          <>
            <NumberField label="Exposed" value={numberOf(policy.exposure_percent)} rule={SHARE} pointer="/exposure_percent" onChange={(value) => set('exposure_percent', value)} />
            <NumberField label="Control" value={numberOf(policy.control_percent)} rule={SHARE} pointer="/control_percent" onChange={(value) => set('control_percent', value)} />
          </>
        )}
      </Group>
      {guardrails.map((one, at) => (
        <Group key={at} gap="md" align="flex-start" className="surface" p="sm" role="group" aria-label={`Guardrail ${String(one.metric ?? at + 1)}`}>
          <TextInput label="Metric" size="sm" w={150} value={String(one.metric ?? '')} onChange={(event) => setGuardrail(at, 'metric', event.currentTarget.value)} />
          <NativeSelect label="Harm is" size="sm" w={110} data={[{ value: 'decrease_is_harm', label: 'less' }, { value: 'increase_is_harm', label: 'more' }]} value={String(one.direction ?? '')} onChange={(event) => setGuardrail(at, 'direction', event.currentTarget.value)} />
          <NumberField label="By more than" value={toPercent(numberOf(one.threshold))} rule={PERCENT} pointer={`/guardrails/${at}/threshold`} onChange={(value) => setGuardrail(at, 'threshold', value === undefined ? undefined : value / 100)} />
          {numberOf(one.baseline) === undefined ? null : <NumberField label="Usual rate" value={toPercent(numberOf(one.baseline))} rule={SHARE} pointer={`/guardrails/${at}/baseline`} onChange={(value) => setGuardrail(at, 'baseline', value === undefined ? undefined : value / 100)} />}
          {numberOf(one.weight) === undefined ? null : <NumberField label="Part of the error" value={numberOf(one.weight)} rule={WEIGHT} pointer={`/guardrails/${at}/weight`} onChange={(value) => setGuardrail(at, 'weight', value)} />}
          {numberOf(one.limit) === undefined ? null : one.metric === 'latency_ms' ? (
            <NumberField label="Limit (p95)" value={numberOf(one.limit)} rule={{ min: 0.001, max: 3_600_000, step: 0.001, unit: 'ms' }} pointer={`/guardrails/${at}/limit`} onChange={(value) => setGuardrail(at, 'limit', value)} />
          ) : <NumberField label="Limit" value={toPercent(numberOf(one.limit))} rule={SHARE} pointer={`/guardrails/${at}/limit`} onChange={(value) => setGuardrail(at, 'limit', value === undefined ? undefined : value / 100)} />}
        </Group>
      ))}
    </Stack>
  );
}

const TONES: Record<Schemas['LintSeverity'], Tone> = { refused: 'bad', warning: 'warn', note: 'quiet' };

/** What speaks against a policy, the gravest first, and how much traffic it takes. */
function LintList({ answer }: { answer: Findings }) {
  return (
    <Stack gap="xs">
      {answer.lint.length === 0 ? <Text size="sm">Nothing speaks against it.</Text> : (
        <Rows label="Findings">
          {answer.lint.map((finding) => (
            <Row key={`${finding.code}${finding.guardrail ?? ''}`}>
              <Chip tone={TONES[finding.severity]}>{finding.severity}</Chip>
              <Text size="sm" className="break" flex={1}>{finding.summary}</Text>
            </Row>
          ))}
        </Rows>
      )}
      {(answer.notes ?? []).map((note) => <Text key={note} size="sm" c="dimmed" className="break">{note}</Text>)}
      {answer.traffic === null ? null : <TrafficLine traffic={answer.traffic} />}
    </Stack>
  );
}

/** After how many people, and how long, a harm is found. */
export function TrafficLine({ traffic }: { traffic: Schemas['Traffic'] }) {
  return (
    <Text size="sm" className="break">
      {traffic.summary}{' '}
      {traffic.takes_ms === null ? <Text span size="sm" c="dimmed">Nobody has come within a day, so how long that takes is not known.</Text> : null}
      {traffic.warning === undefined ? null : <Text size="sm" c="var(--mantine-color-yellow-text)">{traffic.warning}</Text>}
    </Text>
  );
}
