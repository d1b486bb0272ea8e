// Where a fuse stands: the circuit drawn, the ways out of its state in words, its ramp and its cohort.
import { Group, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { Schemas } from '../api';
import { Time, useNow } from '../parts';
import { movesOf, standingOf } from '../model/fuse.ts';
import type { CohortSlice } from '../model/types.ts';
import { clock, percent } from '../model/words.ts';
import { Circuit, circuitName } from '../pictures/Circuit.tsx';
import { CohortBar } from '../pictures/CohortBar.tsx';

export function CircuitPanel({ fuse, actions }: { fuse: Schemas['FuseAnswer']; actions: ReactNode }) {
  const now = useNow(1000);
  const moves = movesOf(fuse);
  return (
    <Stack gap="md" className="surface" p="md" component="section" aria-label="Circuit">
      <Group justify="space-between" align="flex-start" gap="sm">
        <div style={{ minWidth: 0 }}>
          <Text fw={600} className="break">{standingOf(fuse, now)}</Text>
          <Text size="sm" c="dimmed">
            {fuse.attempt === null ? 'No attempt yet' : `Attempt ${fuse.attempt.number}, which may spend ${percent(fuse.attempt.alpha * 100)} of error`}
            {fuse.phase_started_ms === null ? '' : <> · phase {fuse.phase} since <Time ms={fuse.phase_started_ms} /></>}
          </Text>
        </div>
        {actions}
      </Group>
      <Circuit state={fuse.circuit} moves={moves} />
      <ul className="bare-list">
        {moves.map((move) => <li key={move.to}><Text size="sm"><b>To {circuitName(move.to)}</b> {move.words}</Text></li>)}
      </ul>
      {fuse.attempt === null ? null : <Ramp attempt={fuse.attempt} isOpen={fuse.circuit === 'OPEN'} />}
      {(fuse.slices ?? []).length === 0 ? null : <CohortBar slices={(fuse.slices ?? []) as CohortSlice[]} next={fuse.circuit === 'CLOSED' ? fuse.attempt?.next?.exposed_percent : undefined} />}
    </Stack>
  );
}

function Ramp({ attempt, isOpen }: { attempt: Schemas['AttemptAnswer']; isOpen: boolean }) {
  if (attempt.stages.length < 2) return null;
  const { next } = attempt;
  return (
    <Stack gap={6} component="section" aria-label="Ramp">
      <ol className="stages">
        {attempt.stages.map((stage, at) => {
          const state = isOpen ? 'later' : at + 1 < attempt.stage ? 'past' : at + 1 === attempt.stage ? 'now' : 'later';
          return (
            <li key={stage.exposed_percent} data-state={state} aria-current={state === 'now' ? 'step' : undefined}>
              <b className="num">{percent(stage.exposed_percent)}</b>
              <span>{stage.began_ms === null ? `${percent(stage.control_percent)} control` : `since ${clock(stage.began_ms)} UTC`}</span>
            </li>
          );
        })}
      </ol>
      {next === null || isOpen ? null : (
        <Text size="sm" component="div">
          {next.waits_for.length === 0 ? `Stage ${next.stage}, with ${percent(next.exposed_percent)}, opens any moment.` : <>Stage {next.stage}, with {percent(next.exposed_percent)}, waits for<ul className="bare-list">{next.waits_for.map((one) => <li key={one}>{one}</li>)}</ul></>}
        </Text>
      )}
    </Stack>
  );
}
