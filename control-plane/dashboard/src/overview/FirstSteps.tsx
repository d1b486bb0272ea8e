// The first steps of an environment, which tick themselves: each is done when the loop has seen it, not when a button was pressed.
import { ActionIcon, Group, Stack, Text, UnstyledButton } from '@mantine/core';
import { useLocalStorage } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { Check, ChevronDown, ChevronRight, X } from 'lucide-react';
import { lazy, type ReactNode, Suspense, useState } from 'react';
import { environments, fuses, metricsSeen, notices, type Place, recentChanges, telemetryHealth } from '../api';
import { ButtonLink, Section, Snippet, Waiting } from '../parts';
import { usePlace } from '../routes/place';
import { useMayEdit } from '../session/session';
import { useEdge, useKey } from './edge';

const ConnectSdk = lazy(() => import('./ConnectSdk').then(({ ConnectSdk }) => ({ default: ConnectSdk })));

/** What came with the environment itself is nobody's first step. */
const SETTLED_MS = 60_000;
/** Whatever the feed says, a first event is looked for so often. */
const LOOK_MS = 2_000;

interface Step {
  title: string;
  isDone: boolean;
  body: ReactNode;
}

/** What has been seen of a first run. */
function useSeen(place: Place) {
  const health = useQuery({ ...telemetryHealth(place), refetchInterval: LOOK_MS });
  const listed = useQuery(fuses(place));
  const created = useQuery(environments(place.project)).data?.environments.find(({ key }) => key === place.environment)?.created_ms;
  const trail = useQuery(recentChanges(place, 200));
  const noticed = useQuery(notices(place));
  const metrics = useQuery({ ...metricsSeen(place), refetchInterval: LOOK_MS * 2 });
  const did = (action: string) => (trail.data?.audit ?? []).some((entry) => entry.action === action && (entry.actor.startsWith('user:') || entry.at_ms > (created ?? Infinity) + SETTLED_MS));
  return {
    isKnown: [health, listed, trail, noticed, metrics].every((query) => query.data !== undefined),
    firstWatched: listed.data?.fuses[0]?.flag,
    asked: (health.data?.balance.received ?? 0) > 0,
    outcome: (metrics.data?.metrics ?? []).some((metric) => metric.count > 0),
    flag: did('flag.put'),
    armed: did('fuse.put'),
    tripped: (noticed.data?.notices ?? []).some((notice) => notice.kind === 'fuse.open'),
  };
}

export function FirstSteps() {
  const place = usePlace();
  const seen = useSeen(place);
  const [isHidden, setHidden] = useLocalStorage({ key: `flagfuse-first-steps-${place.project}-${place.environment}`, defaultValue: false, getInitialValueInEffect: false });
  const [opened, setOpened] = useState<number | null>(null);
  const mayEdit = useMayEdit(place);
  if (isHidden || !seen.isKnown) return null;
  const steps: Step[] = [
    { title: 'Ask the edge', isDone: seen.asked, body: <AskEdge flag={seen.firstWatched} isDone={seen.asked} /> },
    { title: 'Connect an SDK and send an outcome', isDone: seen.outcome, body: <Suspense fallback={<Waiting />}><ConnectSdk /></Suspense> },
    { title: 'Make a flag', isDone: seen.flag, body: <ToFlags place={place} mayGo={mayEdit}>A new flag serves nobody until you say otherwise.</ToFlags> },
    { title: 'Arm a fuse', isDone: seen.armed, body: <ToFlags place={place} mayGo>A fuse compares who sees the feature with who does not, and switches it off where it harms. Open a flag, then its fuse.</ToFlags> },
    {
      title: 'Watch one trip',
      isDone: seen.tripped,
      body: (
        <Stack gap="xs">
          <Text size="sm">Simulated users meet a feature that halves conversion. In the clone in which <code>up</code> runs:</Text>
          <Snippet text="cargo xtask demo" />
        </Stack>
      ),
    },
  ];
  const done = steps.filter((step) => step.isDone).length;
  const current = opened ?? steps.findIndex((step) => !step.isDone);
  if (done === steps.length && opened === null) return null;
  return (
    <Section
      title="First steps"
      about={`${done} of ${steps.length} done; they tick themselves`}
      actions={
        <ActionIcon variant="subtle" color="gray" aria-label="Hide the first steps" onClick={() => setHidden(true)}><X size={16} /></ActionIcon>
      }
    >
      <div className="surface rows">
        {steps.map((step, at) => (
          <Stack key={step.title} className="row" gap="xs">
            <UnstyledButton onClick={() => setOpened(current === at ? -1 : at)} aria-expanded={current === at}>
              <Group gap="sm" wrap="nowrap">
                <span className="tick" data-done={step.isDone}>
                  {step.isDone ? <Check size={13} aria-hidden="true" /> : <span className="num">{at + 1}</span>}
                </span>
                <Text size="sm" fw={current === at ? 600 : 400} flex={1} c={step.isDone ? 'dimmed' : undefined}>
                  {step.title}
                  {step.isDone ? ': done' : ''}
                </Text>
                {current === at ? <ChevronDown size={15} aria-hidden="true" /> : <ChevronRight size={15} aria-hidden="true" />}
              </Group>
            </UnstyledButton>
            {current === at && <div style={{ paddingLeft: 30 }}>{step.body}</div>}
          </Stack>
        ))}
      </div>
    </Section>
  );
}

function ToFlags({ place, mayGo, children }: { place: Place; mayGo: boolean; children: string }) {
  return (
    <Group justify="space-between">
      <Text size="sm">{children}</Text>
      {mayGo && <ButtonLink to="/$project/$environment/flags" params={{ ...place }}>To the flags</ButtonLink>}
    </Group>
  );
}

function AskEdge({ flag, isDone }: { flag: string | undefined; isDone: boolean }) {
  const edge = useEdge();
  const { key, make } = useKey();
  const text = `curl -s ${edge}/ofrep/v1/evaluate/flags/${flag ?? 'my-flag'} \\
  -H "Authorization: Bearer ${key}" -d '{"context": {"targetingKey": "ada"}}'`;
  return (
    <Stack gap="xs">
      {make}
      <Snippet text={text} label="Command" />
      <Text size="sm" c="dimmed" role="status">
        {isDone ? 'The first event has arrived.' : flag === undefined ? 'No flag is watched yet, so no exposure is recorded: arm a fuse first.' : 'Waiting for the first event …'}
      </Text>
    </Stack>
  );
}
