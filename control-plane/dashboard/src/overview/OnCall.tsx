// What needs somebody, what moves by itself, what was changed last: of all environments, this one's first.
import { Group, Text, VisuallyHidden } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { duration } from '../model/words.ts';
import { overview, type Schemas } from '../api';
import { useLive } from '../live/live';
import { Ago, ButtonLink, Chip, CircuitChip, Empty, Loaded, Row, Rows, Section, span, TextLink, useNow } from '../parts';
import { summary } from '../routes/audit-words';
import { usePlace } from '../routes/place';

type Need = Schemas['Need'];

const MOVING_SHOWN = 8;

export function OnCall() {
  const place = usePlace();
  const query = useQuery(overview());
  const isHere = (item: { project: string | null; environment: string | null }) => item.project === place.project && item.environment === place.environment;
  return (
    <Loaded query={query}>
      {({ needs_you, moving, last_changes }) => (
        <>
          <Section title="Needs you">{needs_you.length === 0 ? <Nothing atMs={query.dataUpdatedAt} /> : <Needs needs={needs_you} />}</Section>
          <Section title="Moving now" about="fuses that watch, ramps, probes">
            <Moving moving={[...moving].sort((one, other) => Number(isHere(other)) - Number(isHere(one)))} />
          </Section>
          <Section title="Last changes" actions={<TextLink to="/$project/$environment/audit" params={{ ...place }} size="sm">All of them</TextLink>}>
            <Changes changes={last_changes} />
          </Section>
        </>
      )}
    </Loaded>
  );
}

function Nothing({ atMs }: { atMs: number }) {
  const { state } = useLive();
  const now = useNow();
  return (
    <Empty>
      <Group gap="xs">
        <span className="dot" data-tone="good" />
        Nothing needs you. {state.status === 'live' ? `Last heard ${span(now - state.heardMs)} ago.` : `Last asked ${span(now - atMs)} ago.`}
      </Group>
    </Empty>
  );
}

const AT = '/$project/$environment';
const [FUSE, PROPAGATION, EVENTS, SLOS, SETTINGS] = [`${AT}/flags/$flag/fuse`, `${AT}/propagation`, `${AT}/events`, `${AT}/slos`, `${AT}/settings/$tab`] as const;

/** How grave a need is, where it leads, and how that is called. */
const NEEDS: Record<Need['kind'], ['bad' | 'warn' | 'quiet', typeof FUSE | typeof PROPAGATION | typeof EVENTS | typeof SLOS | typeof SETTINGS, string]> = {
  fuse_open: ['bad', FUSE, 'See the fuse'],
  replica_refuses: ['bad', PROPAGATION, 'See where it is'],
  replica_behind: ['bad', PROPAGATION, 'See where it is'],
  balance: ['bad', EVENTS, 'See the events'],
  slo_page: ['bad', SLOS, 'See the budget'],
  slo_inform: ['warn', SLOS, 'See the budget'],
  keyset_ends: ['warn', SETTINGS, 'Look at it'],
  token_ends: ['quiet', SETTINGS, 'Look at it'],
};

/** Where something is of, unless that is what is on screen. */
function Where({ of }: { of: { project: string | null; environment: string | null } }) {
  const place = usePlace();
  if (of.project === null || (of.project === place.project && of.environment === place.environment)) return null;
  return <Chip tone="quiet">{`${of.project}${of.environment === null ? '' : ` / ${of.environment}`}`}</Chip>;
}

function Needs({ needs }: { needs: Need[] }) {
  return (
    <Rows label="Needs you">
      {needs.map((need) => (
        <Row key={`${need.kind}/${need.project}/${need.environment}/${need.subject}`} end={<><Where of={need} /><Text size="xs" c="dimmed"><Ago ms={need.since_ms} /></Text><Button need={need} /></>}>
          <span className="dot" data-tone={NEEDS[need.kind][0]} />
          <Text size="sm" className="break" flex={1}>{need.sentence}</Text>
        </Row>
      ))}
    </Rows>
  );
}

/** The one way on from a row. */
function Button({ need }: { need: Need }) {
  const here = usePlace();
  const [, to, words] = NEEDS[need.kind];
  const params = { project: need.project ?? here.project, environment: need.environment ?? here.environment, flag: need.subject, tab: need.kind === 'token_ends' ? 'tokens' : 'keys' };
  return <ButtonLink variant="default" to={to} params={params}>{words}</ButtonLink>;
}

function Moving({ moving }: { moving: Schemas['Moving'][] }) {
  const [all, setAll] = useState(false);
  if (moving.length === 0) return <Empty>Nothing moves by itself.</Empty>;
  return (
    <div className="surface rows">
      {moving.slice(0, all ? undefined : MOVING_SHOWN).map(({ project, environment, flag, circuit, ramp, progress, sentence, at_ms }) => (
        <div className="row" key={`${project}/${environment}/${flag}`}>
          <Group gap="sm">
            <CircuitChip circuit={circuit} />
            <TextLink to="/$project/$environment/flags/$flag/fuse" params={{ project, environment, flag }} size="sm" fw={600}>{flag}</TextLink>
            {ramp !== null && (
              <Text size="sm" component="span">
                stage <span className="num">{ramp.stage}</span> of <span className="num">{ramp.stages}</span>, <span className="num">{ramp.exposed_percent}</span>&nbsp;% see it
              </Text>
            )}
            <Where of={{ project, environment }} />
            <Text size="xs" c="dimmed" component="span" ml="auto">
              {progress !== null && <>evidence of harm <span className="num">{progress.toFixed(0)}</span>&nbsp;% · </>}
              {at_ms === null ? 'not looked at yet' : <Ago ms={at_ms} />}
            </Text>
          </Group>
          {(ramp?.summary ?? sentence) !== '' && <Text size="sm" c="dimmed" className="break">{ramp?.summary ?? sentence}</Text>}
        </div>
      ))}
      {!all && moving.length > MOVING_SHOWN && (
        <Text size="sm" className="row">
          <button type="button" className="plain" onClick={() => setAll(true)}>{moving.length - MOVING_SHOWN} more</button>
        </Text>
      )}
    </div>
  );
}

function Changes({ changes }: { changes: Schemas['LastChange'][] }) {
  return (
    <Rows label="Last changes" empty="Nothing was changed yet.">
      {changes.map((change) => (
        <Row key={change.audit_id} end={<><Where of={change} /><Receipt change={change} /><Text size="xs" c="dimmed"><Ago ms={change.at_ms} /></Text></>}>
          <Text size="sm" className="break">{summary({ ...change, detail: null })}</Text>
        </Row>
      ))}
    </Rows>
  );
}

/** `9/9 · 143 ms`. */
function Receipt({ change: { version, receipt, project, environment } }: { change: Schemas['LastChange'] }) {
  if (version === null || project === null || environment === null) return null;
  const words = receipt === null ? null : `${receipt.acked}/${receipt.replicas_total}${receipt.slowest_ms === null ? '' : ` · ${duration(receipt.slowest_ms)}`}`;
  return (
    <TextLink to="/$project/$environment/changes/$version" params={{ project, environment, version }} size="xs" className="num">
      <VisuallyHidden>Receipts of {version}: </VisuallyHidden>
      {words === null ? version : <Chip tone={receipt?.is_live === true ? 'good' : 'warn'}>{words}</Chip>}
    </TextLink>
  );
}
