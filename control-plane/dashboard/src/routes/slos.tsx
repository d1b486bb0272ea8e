// Objectives: how much of each budget is left, how fast it burns, and when alerts are silent.
import { Code, Group, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { count } from '../model/words.ts';
import { Days } from '../pictures/Days.tsx';
import '../pictures/pictures.css';
import { api, AT, data, notices, type Place, read, type Schemas, slos, tagged, touching, useChange, useTag } from '../api';
import { Ago, ChangeDialog, Chip, Empty, Field, Loaded, Opens, Page, Row, Rows, SafeLink, Section, shortTime, span, Time, type Tone, useNow } from '../parts';
import { useMayEdit } from '../session/session';
import { usePlace } from './place';

type Window = Schemas['SuppressionAnswer'];

const WEEK_MS = 7 * 86_400_000;
const SUPPRESSIONS = `${AT}/suppressions` as const;

const suppressions = (place: Place) => read('slos', place, (path, signal) => data(api.GET(SUPPRESSIONS, { params: { path }, signal })), 'suppressions');

export function Slos() {
  return (
    <Page title="SLOs" about="What this environment promises of its requests. While one pages, no ramp is widened.">
      <Loaded query={useQuery({ ...slos(usePlace()), refetchInterval: 15_000 })}>
        {(list) =>
          list.slos.length === 0 ? (
            <Empty>
              No objective yet. One is written with <code>PUT …/slos/NAME</code>, for example{' '}
              <Code>{'{"objective_percent": 99.9, "sli": {"kind": "errors", "bad": "error"}}'}</Code>
            </Empty>
          ) : <Stack gap="sm">{list.slos.map((slo) => <Objective key={slo.name} slo={slo} />)}</Stack>
        }
      </Loaded>
      <Suppressions />
    </Page>
  );
}

const LEVEL: Record<Schemas['Level'], [Tone, string]> = {
  ok: ['good', 'ok'],
  suppressed: ['quiet', 'silent'],
  inform: ['warn', 'informs'],
  page: ['bad', 'pages'],
};

function Objective({ slo }: { slo: Schemas['SloAnswer'] }) {
  const [tone, word] = LEVEL[slo.level];
  const { budget } = slo;
  const isCounted = budget.requests > 0;
  const left = budget.affordable > 0 ? Math.max(0, Math.min(1, budget.left)) : 0;
  const words = !isCounted ? 'No request was counted yet.' : `${(left * 100).toFixed(1)} % of the budget left: ${count(Math.round(budget.spent))} of ${count(Math.round(budget.affordable))} affordable failures spent, ${count(budget.requests)} requests`;
  return (
    <section className="surface" style={{ padding: '0.875rem' }} aria-label={slo.name}>
      <Stack gap="xs">
        <Group justify="space-between" gap="sm">
          <Group gap="sm">
            <Text fw={600}>{slo.name}</Text>
            <Chip tone={tone}>{word}</Chip>
            <Text size="xs" c="dimmed" component="span">since <Ago ms={slo.level_since_ms} /></Text>
          </Group>
          <Text size="sm" c="dimmed">{promise(slo.slo)} over {slo.slo.window_days ?? 30} d</Text>
        </Group>
        {slo.slo.description != null && <Text size="sm">{slo.slo.description}</Text>}
        <svg width="100%" height="10" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label={words}>
          <rect width="100" height="10" rx="1" fill="var(--ff-line)" />
          <rect width={left * 100} height="10" rx="1" fill={left > 0.25 ? 'var(--ff-good)' : left > 0 ? 'var(--ff-warn)' : 'var(--ff-bad)'} />
        </svg>
        <Text size="xs" c="dimmed">{words}</Text>
        <Group gap="md">
          {isCounted && slo.burn.map((window) => (
            <Text size="sm" key={window.window_ms} component="span">
              <Text span c="dimmed" size="sm">
                {span(window.window_ms)}
              </Text>{' '}
              <span className="num">{window.burn === null ? 'no requests' : `${window.burn.toFixed(2)} ×`}</span>
            </Text>
          ))}
          <SafeLink href={slo.slo.runbook ?? null}>Runbook</SafeLink>
        </Group>
      </Stack>
    </section>
  );
}

/** What is promised, in words. */
function promise({ objective_percent, sli }: Schemas['Slo']): string {
  const share = `${objective_percent ?? '–'}\u00a0%`;
  if (sli.kind === 'latency') return `${share} within ${sli.above_ms ?? '–'}\u00a0ms`;
  if (sli.kind === 'availability') return `${share} answered`;
  if (sli.kind === 'cost') return `at most ${sli.at_most ?? '–'} a request`;
  return `${share} without errors`;
}

const ALERTS: Record<string, string> = { 'slo.page': 'pages', 'slo.inform': 'informs' };

/** Windows and alerts around now, on one axis: whether what paged fell into a window, and whether the next deploy has one. */
function Calendar({ windows }: { windows: Window[] }) {
  const now = useNow(60_000);
  const told = useQuery(notices(usePlace())).data?.notices ?? [];
  const marks = told.flatMap(({ notice_id, kind, subject, at_ms }) => {
    const does = ALERTS[kind];
    return does === undefined ? [] : [{ id: notice_id, atMs: at_ms, words: `${subject} ${does}, ${shortTime(at_ms, now)}`, isGrave: kind === 'slo.page' }];
  });
  const spans = windows.map(({ suppression_id, from_ms, to_ms, reason, slo, is_on }) => ({ id: suppression_id, from_ms, to_ms, isOn: is_on, words: `${reason}, ${slo ?? 'all SLOs'}, ${shortTime(from_ms, now)} to ${shortTime(to_ms, now)}` }));
  const near = (fromMs: number, toMs = fromMs) => toMs > now - WEEK_MS && fromMs < now + WEEK_MS;
  const [windowWords, alertWords] = [spans.filter((one) => near(one.from_ms, one.to_ms)), marks.filter((one) => near(one.atMs))].map((list) => (list.length === 0 ? 'none' : list.map((one) => one.words).join('; ')));
  return (
    <figure className="surface picture-box">
      <Days label={`The week before and the week after now. Windows: ${windowWords}. Alerts: ${alertWords}.`} nowMs={now} spans={spans} marks={marks} />
      <figcaption>Bars are windows; ▲ an alert that pages, ◆ one that informs; the line is now.</figcaption>
    </figure>
  );
}

function Suppressions() {
  const place = usePlace();
  const mayEdit = useMayEdit(place);
  const declare = mayEdit && <Opens label="Declare one …">{(close) => <Declare onClose={close} />}</Opens>;
  return (
    <Section title="Windows without alerts" actions={declare}>
      <Loaded query={useQuery(suppressions(place))} lines={2}>
        {(list) => (
          <>
            <Calendar windows={list.suppressions} />
            <Rows label="Windows without alerts" empty="None. Around a deploy or a rehearsal, declare one, so that nobody is called for what is expected.">
              {list.suppressions.map((window) => {
                const end = (
                  <>
                    <Text size="sm" component="span"><Time ms={window.from_ms} /> – <Time ms={window.to_ms} /></Text>
                    {mayEdit && window.is_on && <Opens label="End it">{(close) => <End window={window} onClose={close} />}</Opens>}
                  </>
                );
                return (
                  <Row key={window.suppression_id} end={end}>
                    {window.is_on && <Chip tone="warn">on</Chip>}
                    <Text size="sm" className="break">{window.reason}</Text>
                    <Text size="sm" c="dimmed">{window.slo ?? 'all SLOs'}, by {window.declared_by}</Text>
                  </Row>
                );
              })}
            </Rows>
          </>
        )}
      </Loaded>
    </Section>
  );
}

function Declare({ onClose }: { onClose: () => void }) {
  const place = usePlace();
  const [reason, setReason] = useState('');
  const [minutes, setMinutes] = useState('30');
  const length = Number(minutes);
  const isSound = Number.isInteger(length) && length >= 1 && length <= 7 * 24 * 60;
  const change = useChange((headers) => {
    const body = { reason, to_ms: Date.now() + length * 60_000 };
    return data(api.POST(SUPPRESSIONS, { params: { path: place }, body, headers }));
  }, touching(place, 'slos'));
  return (
    <ChangeDialog title="A window without alerts" verb="Declare" change={change} isReady={reason.trim() !== '' && isSound} onClose={onClose}>
      <Field label="Why" required value={reason} onChange={setReason} data-autofocus />
      <Field
        label="For so many minutes, from now"
        inputMode="numeric"
        value={minutes}
        onChange={setMinutes}
        error={isSound ? null : 'A whole number, 1 to 10,080 (a week).'}
      />
    </ChangeDialog>
  );
}

function End({ window, onClose }: { window: Window; onClose: () => void }) {
  const place = usePlace();
  const params = { path: { ...place, suppression_id: window.suppression_id } };
  const change = useChange((headers) => data(api.DELETE(`${SUPPRESSIONS}/{suppression_id}`, { params, headers })), touching(place, 'slos'));
  const etag = useTag(change, ['slos', place.project, place.environment, 'suppression', window.suppression_id], (signal) => tagged(api.GET(`${SUPPRESSIONS}/{suppression_id}`, { params, signal })));
  return (
    <ChangeDialog title="End the window" verb="End it now" change={change} etag={etag} onClose={onClose}>
      <Text size="sm">Alerts speak again from now on.</Text>
    </ChangeDialog>
  );
}
