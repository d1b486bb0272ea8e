// One card for each guardrail: how much evidence there is and what it would take, the estimate with its interval, both arms.
import { Group, Stack, Table, Text } from '@mantine/core';
import type { Schemas } from '../api';
import { Chip } from '../parts';
import { meterOf, reasonInWords, toneOfFinding } from '../model/fuse.ts';
import { change, count, interval, percent, share } from '../model/words.ts';
import { EvidenceMeter } from '../pictures/EvidenceMeter.tsx';

interface GuardrailsProps { policy: Schemas['Policy']; verdict: Schemas['VerdictAnswer'] | undefined; circuit: Schemas['Circuit'] }

export function Guardrails({ policy, verdict, circuit }: GuardrailsProps) {
  return (
    <div className="cards">
      {policy.guardrails.map((guardrail) => {
        const found = (verdict?.evidence ?? []).filter((one) => one.metric === guardrail.metric);
        const evidence = found.find((one) => one.anytime?.slice === undefined) ?? found[0];
        return <GuardrailCard key={guardrail.metric} guardrail={guardrail} evidence={evidence} mode={policy.mode} circuit={circuit} />;
      })}
    </div>
  );
}

interface CardProps { guardrail: Schemas['Guardrail']; evidence: Schemas['GuardrailEvidence'] | undefined; mode: Schemas['Mode']; circuit: Schemas['Circuit'] }

function GuardrailCard({ guardrail, evidence, mode, circuit }: CardProps) {
  const holds = guardrail.rights === 'hold';
  return (
    <Stack gap="sm" className="surface" p="md" component="section" aria-label={`Guardrail ${guardrail.metric}`}>
      <Group justify="space-between" gap="xs">
        <Text fw={600} className="break"><bdi>{guardrail.metric}</bdi></Text>
        {evidence === undefined ? <Chip tone="quiet">no verdict yet</Chip> : <Chip tone={toneOfFinding(evidence.finding)}>{reasonInWords(evidence.finding)}</Chip>}
      </Group>
      <Text size="xs" c="dimmed">{ruleInWords(guardrail)}{holds ? ' It only holds the ramp.' : ''}</Text>
      {evidence === undefined ? null : mode === 'anytime' && evidence.anytime !== undefined ? <Evidence guardrail={guardrail} evidence={evidence} anytime={evidence.anytime} circuit={circuit} /> : <Classic evidence={evidence} />}
      {evidence === undefined ? null : <Arms evidence={evidence} />}
    </Stack>
  );
}

function ruleInWords(guardrail: Schemas['Guardrail']): string {
  const isLess = guardrail.direction === 'decrease_is_harm';
  if (guardrail.limit != null) return `Harm is ${isLess ? 'less' : 'more'} than ${guardrail.metric === 'latency_ms' ? `${count(guardrail.limit)} ms at the 95th percentile` : share(guardrail.limit)}, whatever control has.`;
  return `Harm is a change of ${change(guardrail.threshold)} or ${isLess ? 'less' : 'more'} against control.`;
}

function Evidence({ guardrail, evidence, anytime, circuit }: { guardrail: Schemas['Guardrail']; evidence: Schemas['GuardrailEvidence']; anytime: Schemas['AnytimeEvidence']; circuit: Schemas['Circuit'] }) {
  const { harm, noHarm } = meterOf(anytime);
  const excluded = anytime.excluded;
  return (
    <Stack gap={6}>
      <EvidenceMeter metric={guardrail.metric} harm={harm} noHarm={circuit === 'HALF_OPEN' || noHarm > 0 ? noHarm : undefined} does={guardrail.rights === 'hold' ? 'holds the ramp' : 'trips the fuse'} />
      <Text size="xs" c="dimmed">
        {`${times(anytime.evidence)} times likelier under harm; ${times(anytime.evidence_needed)} ${guardrail.rights === 'hold' ? 'hold' : 'trip'}. `}
        {circuit === 'HALF_OPEN' ? `${times(anytime.recovery)} of ${times(anytime.recovery_needed)} against it. ` : ''}
        {excluded === undefined ? '' : `A harm of ${share(excluded)} is excluded.`}
      </Text>
      <Text size="sm">
        Change <b className="num">{change(anytime.change ?? (evidence.reading.exposed.units > 0 && evidence.reading.control.units > 0 ? evidence.delta : null))}</b>
        <Text span size="sm" c="dimmed" className="num"> ({interval(anytime.interval)})</Text>
      </Text>
    </Stack>
  );
}

/** Classic mode is a rule of thumb, and says how often it errs. */
function Classic({ evidence }: { evidence: Schemas['GuardrailEvidence'] }) {
  const rate = evidence.false_trip_rate_first_look;
  return (
    <Stack gap={6}>
      <Text size="sm">Change <b className="num">{change(evidence.delta_compared)}</b> <Text span size="sm" c="dimmed">threshold {change(evidence.threshold)}, sample {percent(evidence.confidence * 100)} of 5,000 units</Text></Text>
      <Text size="sm" c="var(--mantine-color-yellow-text)">{rate === null ? 'Not a test: how often this rule trips by chance is not known for means.' : `Not a test: ${share(rate)} false trips at the first look alone, more with each further one.`}</Text>
    </Stack>
  );
}

export function Arms({ evidence }: { evidence: Schemas['GuardrailEvidence'] }) {
  const isMean = evidence.metric === 'latency_ms';
  const rate = (value: number, units: number) => (units === 0 ? 'none' : isMean ? `${value.toFixed(1)} ms` : share(value));
  const rows = [['exposed', evidence.reading.exposed, evidence.rate_exposed], ['control', evidence.reading.control, evidence.rate_control]] as const;
  return (
    <Table verticalSpacing={2} horizontalSpacing={6} fz="sm" withRowBorders={false} aria-label={`Arms of ${evidence.metric}`}>
      <Table.Thead><Table.Tr><Table.Th>Arm</Table.Th><Table.Th ta="right">Units</Table.Th><Table.Th ta="right">{isMean ? 'Samples' : 'Events'}</Table.Th><Table.Th ta="right">{isMean ? 'Mean' : 'Rate'}</Table.Th></Table.Tr></Table.Thead>
      <Table.Tbody>
        {rows.map(([arm, total, value]) => (
          <Table.Tr key={arm}><Table.Td>{arm}</Table.Td><Table.Td ta="right" className="num">{count(total.units)}</Table.Td><Table.Td ta="right" className="num">{count(total.events)}</Table.Td><Table.Td ta="right" className="num">{rate(value, total.units)}</Table.Td></Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function times(value: number): string {
  if (value >= 1_000_000) return 'more than a million';
  return value >= 100 ? count(value) : value.toFixed(value >= 10 ? 1 : 2);
}
