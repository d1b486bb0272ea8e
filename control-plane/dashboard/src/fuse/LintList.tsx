// What speaks against a policy, the gravest first, and how much traffic it takes.
import { Stack, Text } from '@mantine/core';
import type { Schemas } from '../api';
import type { Findings } from './reads';
import { Chip, type Tone } from '../parts';

const TONES: Record<Schemas['LintSeverity'], Tone> = { refused: 'bad', warning: 'warn', note: 'quiet' };

export function LintList({ answer }: { answer: Findings }) {
  return (
    <Stack gap="xs">
      {answer.lint.length === 0 ? <Text size="sm">Nothing speaks against it.</Text> : (
        <div className="surface rows" role="list" aria-label="Findings">
          {answer.lint.map((finding) => (
            <div className="row" role="listitem" key={`${finding.code}${finding.guardrail ?? ''}`} style={{ display: 'flex', gap: 10, alignItems: 'baseline' }}>
              <span style={{ flex: 'none' }}><Chip tone={TONES[finding.severity]}>{finding.severity}</Chip></span>
              <Text size="sm" className="break">{finding.summary}</Text>
            </div>
          ))}
        </div>
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
