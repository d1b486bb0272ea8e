// A change that says first who flips: the question, the server's rehearsal of it, then the receipt in place.
import { Alert, Button, Group, Kbd, Modal, Popover, Stack, Text } from '@mantine/core';
import { useHotkeys } from '@mantine/hooks';
import type { ReactNode } from 'react';
import { useQuery } from '@tanstack/react-query';
import { asProblem, type Change, change, type Place, type Schemas } from '../api';
import type { JsonObject } from '../model/json.ts';
import { ChangeNote, Field, ProblemNote, TextLink } from '../parts';
import { duration } from '../model/words.ts';
import { ReceiptGrid } from '../pictures/ReceiptGrid.tsx';
import { WhoFlips } from './WhoFlips';

/** Takes the focus from the button that stood there, so that Enter goes on. */
const focus = (node: HTMLButtonElement | null) => node?.focus();

interface Rehearsal { data: { diff: Schemas['DecisionDiff'][] } | undefined; error: Error | null; refetch: () => unknown }

/** What the server says of a change before it is made: who flips, or why it is refused. */
function Rehearsed({ query, onTry }: { query: Rehearsal; onTry?: ((context: JsonObject) => void) | undefined }) {
  if (query.error !== null) return <ProblemNote problem={asProblem(query.error)} retry={() => void query.refetch()} />;
  if (query.data === undefined) return <Text size="sm" c="dimmed">Asking the server who flips …</Text>;
  return <WhoFlips diff={query.data.diff} {...(onTry === undefined ? {} : { onTry })} />;
}

/** What the server adds to a change: of the flag, and of Unleash's SDKs. */
export interface Hints { notes?: readonly string[] | undefined; unleash_sdk?: string | undefined }

function Notes({ hints }: { hints: Hints | undefined }) {
  const all = [...(hints?.notes ?? []), ...(hints?.unleash_sdk === undefined ? [] : [`For Unleash’s SDKs: ${hints.unleash_sdk}.`])];
  if (all.length === 0) return null;
  return <Alert color="blue" py="xs">{all.map((note) => <Text size="sm" key={note} className="break">{note}</Text>)}</Alert>;
}

interface StepsProps {
  change: Change<Schemas['Made'] & Hints>;
  verb: string;
  /** How it is left without being done. */
  leave?: string;
  /** Sent by ⌘⏎ too, wherever the focus is. */
  hasKeys?: boolean;
  /** Where the receipts come from. */
  place: Place;
  nothing?: string;
  etag?: string | null;
  isReady?: boolean;
  isHarmful?: boolean;
  onStale?: () => void;
  onClose: () => void;
  /** Stands there until it is done. */
  children?: ReactNode;
}

/** The question, what came of it, and the buttons; ⏎ in a field sends it. */
function Steps({ change, verb, leave = 'Cancel', hasKeys = false, place, nothing = 'Stored. Nothing that is served has changed, so there is no new version.', etag = null, isReady = true, isHarmful = false, onStale, onClose, children }: StepsProps) {
  const { state } = change;
  const isDone = state.step === 'done';
  const send = () => { if (isReady && !isDone && state.step !== 'sending') void change.run(etag); };
  useHotkeys(hasKeys ? [['mod+Enter', send]] : [], []);
  return (
    <form onSubmit={(event) => { event.preventDefault(); send(); }}>
      <Stack gap="sm">
        {isDone ? <>{state.answer.version === null ? <Text size="sm">{nothing}</Text> : <Receipt place={place} version={state.answer.version} />}<Notes hints={state.answer} /></> : children}
        <ChangeNote change={change} {...(onStale === undefined ? {} : { onStale })} />
        <Group justify="flex-end" gap="xs">
          {isDone ? <Button ref={focus} onClick={onClose}>Done</Button> : (
            <>
              <Button variant="default" onClick={onClose}>{leave}</Button>
              <Button type="submit" data-autofocus disabled={!isReady} loading={state.step === 'sending'} rightSection={hasKeys ? <Kbd size="xs">⌘⏎</Kbd> : undefined} {...(isHarmful ? { color: 'red' } : {})}>{verb}</Button>
            </>
          )}
        </Group>
      </Stack>
    </form>
  );
}

interface SheetProps extends StepsProps {
  title: ReactNode;
  /** The title once it is done. */
  done?: string;
  rehearsal: Rehearsal & { data: Hints | undefined };
  onTry?: ((context: JsonObject) => void) | undefined;
  fields?: ReactNode;
  asksWhy?: boolean;
}

/** Stands as long as its caller shows it. */
export function RehearsedSheet({ title, done, rehearsal, onTry, fields, asksWhy = true, children, ...steps }: SheetProps) {
  return (
    <Modal opened onClose={steps.onClose} title={steps.change.state.step === 'done' ? (done ?? title) : title} size="lg">
      <Steps {...steps}>
        {children}
        <Stack gap={4} component="section" aria-label="Who gets something else">
          <Text size="sm" fw={600}>Who gets something else</Text>
          <Rehearsed query={rehearsal} onTry={onTry} />
        </Stack>
        <Notes hints={rehearsal.data} />
        {asksWhy ? <Field label="Why" description="The audit trail keeps it; it may be left empty." maxLength={160} value={steps.change.comment} onChange={steps.change.explain} /> : null}
        {fields}
      </Steps>
    </Modal>
  );
}

/** The same for what stops something from anywhere: no rehearsal. */
export function StopSheet({ title, ...steps }: StepsProps & { title: string }) {
  return <Modal opened onClose={steps.onClose} title={title} centered><Steps {...steps} isHarmful /></Modal>;
}

interface StopProps extends StepsProps { label: string; button: ReactNode; isOpen: boolean; setOpen: (isOpen: boolean) => void }

/** What stops something now: one click and Enter. It asks no question of the server first, and is held up by nothing. */
export function StopPopover({ label, button, isOpen, setOpen, ...steps }: StopProps) {
  return (
    <Popover opened={isOpen} onChange={setOpen} width="min(380px, calc(100vw - 24px))" position="bottom-end" trapFocus withArrow shadow="md">
      <Popover.Target>{button}</Popover.Target>
      <Popover.Dropdown role="dialog" aria-label={label}><Steps {...steps} isHarmful /></Popover.Dropdown>
    </Popover>
  );
}

const ASK_MS = 250;
const LATER_MS = 2000;

export const isSettled = (arrival: Schemas['Arrival']) => arrival.state === 'live' || arrival.state === 'superseded';

/** A change on its way: how many replicas have it, until it is live everywhere. It fills in place. */
function Receipt({ place, version }: { place: Place; version: string }) {
  const query = useQuery({
    ...change(place, version),
    refetchInterval: ({ state }) => (state.data !== undefined && isSettled(state.data) ? false : state.dataUpdateCount < 40 ? ASK_MS : LATER_MS),
  });
  const arrival = query.data;
  return (
    <div role="status" aria-live="polite" data-receipt={arrival?.state ?? 'asking'}>
      <Group gap="sm" align="center">
        <Text size="sm"><b className="num">{version}</b> {arrival === undefined ? (query.error === null ? 'is on its way …' : asProblem(query.error).message) : receiptWords(arrival)}</Text>
        <TextLink size="sm" to="/$project/$environment/changes/$version" params={{ ...place, version }}>Receipt</TextLink>
      </Group>
      {arrival === undefined || arrival.replicas.length === 0 ? null : (
        <ReceiptGrid cells={arrival.replicas} />
      )}
    </div>
  );
}

export function receiptWords(arrival: Schemas['Arrival']): string {
  const all = `${arrival.acked}/${arrival.replicas_total}`;
  const slowest = arrival.slowest_ms === null ? '' : ` in ${duration(arrival.slowest_ms)}`;
  const refused = arrival.replicas.filter((one) => one.nack_code !== null).length;
  if (arrival.replicas_total === 0) return 'is stored. No replica is connected, so nothing tells where it is live.';
  if (arrival.state === 'live') return `is live everywhere: ${all}${slowest}.`;
  if (arrival.state === 'superseded') return `is live everywhere: ${all}, in part through a later version.`;
  return `${all} replicas have it${slowest}${refused > 0 ? `; ${refused} refused it` : ''} …`;
}
