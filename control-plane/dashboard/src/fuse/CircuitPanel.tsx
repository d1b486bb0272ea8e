// Where a fuse stands: the circuit drawn, the ways out of its state in words, its ramp and its cohort; and what a person may do to it.
import { Button, Group, Stack, Text } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { useQuery } from '@tanstack/react-query';
import { ZapOff } from 'lucide-react';
import { type Place, type Schemas, touching, useChange } from '../api';
import { Field, Time, useNow } from '../parts';
import { actionsOf, movesOf, standingOf } from '../model/fuse.ts';
import type { CohortSlice } from '../model/types.ts';
import { clock, percent } from '../model/words.ts';
import { Circuit, circuitName } from '../pictures/Circuit.tsx';
import { CohortBar } from '../pictures/CohortBar.tsx';
import { RehearsedSheet, StopPopover } from '../flags/RehearsedSheet';
import { act, actRehearsal, type FuseAction } from './reads';

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

interface Told { verb: string; says: string; needsReason?: boolean }

const TOLD: Record<Exclude<FuseAction, 'trip'>, Told> = {
  'half-open': { verb: 'Half-open', says: 'A probe of fresh units sees the feature. What it shows closes the fuse or opens it again.' },
  close: { verb: 'Close', says: 'The feature is served again, though nothing has shown that the harm is gone.', needsReason: true },
  hold: { verb: 'Pause ramp', says: 'The ramp stays at its stage. A trip goes on working.' },
  resume: { verb: 'Resume ramp', says: 'The ramp goes on when its next stage’s conditions hold.' },
  advance: { verb: 'Open next stage', says: 'The next stage opens now, whatever it waits for.', needsReason: true },
  reset: { verb: 'Begin anew', says: 'A new attempt begins with fresh units. Each attempt may spend less of the error than the one before.', needsReason: true },
};

interface FuseActionsProps { place: Place; flag: string; fuse: Schemas['FuseAnswer']; etag: string | null }

/** What a person may do to a fuse. Trip is one click and Enter; everything else tells first who flips. */
export function FuseActions({ place, flag, fuse, etag }: FuseActionsProps) {
  const [asked, setAsked] = useState<Exclude<FuseAction, 'trip'> | null>(null);
  // It stays while its receipt fills, though the fuse is open by then.
  const [isTripping, setTripping] = useState(false);
  const actions = actionsOf(fuse);
  return (
    <Group gap="xs">
      {actions.filter((one): one is Exclude<FuseAction, 'trip'> => one !== 'trip' && Object.hasOwn(TOLD, one)).map((action) => (
        <Button key={action} variant="default" onClick={() => setAsked(action)}>{TOLD[action].verb}</Button>
      ))}
      {actions.includes('trip') || isTripping ? <TripButton place={place} flag={flag} isOpen={isTripping} setOpen={setTripping} /> : null}
      {asked === null ? null : <ActionSheet place={place} flag={flag} action={asked} etag={etag} onClose={() => setAsked(null)} />}
    </Group>
  );
}

function useAction(place: Place, flag: string, action: FuseAction, reason: string) {
  return useChange((headers) => act(place, flag, action, reason, headers), touching(place, 'fuse', 'fuses', 'flag', 'flags', 'audit', 'verdicts', 'trip'));
}

function TripButton({ place, flag, isOpen, setOpen }: { place: Place; flag: string; isOpen: boolean; setOpen: (isOpen: boolean) => void }) {
  const [reason, setReason] = useState('');
  const change = useAction(place, flag, 'trip', reason);
  const close = () => { setOpen(false); setReason(''); change.reset(); };
  return (
    <StopPopover
      label={`Trip ${flag}`} verb="Trip now" nothing="It is open already." place={place} change={change} isOpen={isOpen} setOpen={(next) => (next ? setOpen(true) : close())} onClose={close}
      button={<Button color="red" leftSection={<ZapOff size={15} />} aria-haspopup="dialog" onClick={() => setOpen(true)}>Trip</Button>}
    >
      <Text size="sm">Nobody sees the feature any more, at once, and it stays off until a person says otherwise.</Text>
      <Field label="Reason" description="Not needed: Enter trips." value={reason} maxLength={512} onChange={setReason} />
    </StopPopover>
  );
}

function ActionSheet({ place, flag, action, etag, onClose }: { place: Place; flag: string; action: Exclude<FuseAction, 'trip'>; etag: string | null; onClose: () => void }) {
  const [reason, setReason] = useState('');
  const { verb, says, needsReason = false } = TOLD[action];
  const change = useAction(place, flag, action, reason);
  const rehearsal = useQuery({ ...actRehearsal(place, flag, action, etag), enabled: change.state.step === 'idle' });
  return (
    <RehearsedSheet
      title={`${verb}: ${flag}`} verb={verb} place={place} change={change} rehearsal={rehearsal} etag={etag} asksWhy={false} isReady={rehearsal.error === null && !(needsReason && reason.trim() === '')} onStale={onClose} onClose={onClose}
      fields={<Field data-autofocus label="Reason" withAsterisk={needsReason} maxLength={512} description={needsReason ? 'The audit trail keeps it.' : undefined} value={reason} onChange={setReason} />}
    >
      <Text size="sm">{says}</Text>
    </RehearsedSheet>
  );
}
