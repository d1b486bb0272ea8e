// The numbers of a policy that people set most, as fields; everything else is in its document.
import { Group, NativeSelect, Stack, Text, TextInput } from '@mantine/core';
import { NumberField } from '../flags/NumberField';
import { setPart } from '../model/edits.ts';
import { field, isObject, withField, type Json, type JsonObject } from '../model/json.ts';

const PERCENT = { min: -99, max: 10_000, step: 0.01, unit: '%' };
const SHARE = { min: 0.0001, max: 90, step: 0.0001, unit: '%' };
const WEIGHT = { min: 0.001, max: 1, step: 0.001, unit: 'of 1' };

interface PolicyFormProps { policy: JsonObject; variations: readonly string[]; onChange: (policy: JsonObject) => void }

const numberOf = (value: Json | undefined) => (typeof value === 'number' ? value : undefined);
/** A share as a percentage, without the dust of binary fractions. */
const toPercent = (value: number | undefined) => (value === undefined ? undefined : Math.round(value * 1_000_000) / 10_000);

export function PolicyForm({ policy, variations, onChange }: PolicyFormProps) {
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
