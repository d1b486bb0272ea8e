// What speaks against a policy, the gravest first, and how much traffic it takes.
import { Stack, Text } from '@mantine/core';
import type { Schemas } from '../api';
import type { Findings } from './reads';
import { Chip, Row, Rows, type Tone } from '../parts';

const TONES: Record<Schemas['LintSeverity'], Tone> = { refused: 'bad', warning: 'warn', note: 'quiet' };

export function LintList({ answer }: { answer: Findings }) {
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
