// Tokens of programs: made, rotated, revoked. The secret is shown once.
import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, data, type Schemas, type Sent, tagged, useChange, useTag } from '../api';
import { Choice } from '../parts/choice';
import { Ago, ChangeDialog, Chip, Field, Loaded, OnlyOnce, Opens, Row, Rows, Section, Time } from '../parts';
import { usePlace } from '../routes/place';
import { useCan } from '../session/session';

type Token = Schemas['Token'];
type Kind = Schemas['TokenKind'];

const TOKENS = ['members', 'tokens'] as const;

/** Which kinds there are, what each may, and where it stands. */
const KINDS: Record<Kind, [string, 'tenant' | 'environment']> = {
  client: ['asks the edge; publishable', 'environment'],
  server: ['sends events from your servers', 'environment'],
  viewer: ['reads', 'tenant'],
  editor: ['changes flags and fuses', 'tenant'],
  admin: ['does everything but make owners', 'tenant'],
  ingest: ['delivers events and pulls snapshots, as edges do', 'tenant'],
  metrics: ['reads /metrics', 'tenant'],
};

export function Tokens() {
  const place = usePlace();
  const can = useCan();
  const query = useQuery({ queryKey: TOKENS, queryFn: ({ signal }) => data(api.GET('/v1/tokens', { params: { query: { sort: '-changed' } }, signal })) });
  const mayManage = (token: Token) => token.revoked_ms === null && can('administer', token.project ?? undefined, token.environment ?? undefined);
  return (
    <Section title="Tokens" about="of programs; people sign in" actions={can('administer', place.project, place.environment) && <Opens label="Make one …">{(close) => <NewToken onClose={close} />}</Opens>}>
      <Loaded query={query}>
        {({ tokens }) => (
          <Rows label="Tokens" empty="No token.">
            {tokens.map((token) => {
              const actions = (
                <>
                  <Opens label="Rotate …">{(close) => <Rotate token={token} onClose={close} />}</Opens>
                  <Opens label="Revoke …" c="red">{(close) => <Revoke token={token} onClose={close} />}</Opens>
                </>
              );
              return (
                <Row key={token.token_id} end={mayManage(token) ? actions : null}>
                  <Chip tone={token.revoked_ms === null ? 'good' : 'quiet'}>{token.kind}</Chip>
                  <Text size="sm" fw={600} className="break">{token.name}</Text>
                  <Text size="sm" c="dimmed" component="span">
                    {token.project === null ? 'everywhere' : `${token.project}${token.environment === null ? '' : `/${token.environment}`}`} · <Standing token={token} />
                  </Text>
                </Row>
              );
            })}
          </Rows>
        )}
      </Loaded>
    </Section>
  );
}

function Standing({ token }: { token: Token }) {
  if (token.revoked_ms !== null) return <>revoked <Ago ms={token.revoked_ms} /></>;
  const used = token.kind === 'client' ? <>made <Ago ms={token.created_ms} /></> : token.used_ms === null ? <>never used</> : <>used <Ago ms={token.used_ms} /></>;
  if (token.expires_ms === null) return used;
  return <>{used} · ends <Time ms={token.expires_ms} /></>;
}

const once = ({ token }: { token: string }) => <OnlyOnce label="Token" text={token}>Keep it now: it is shown only this once.</OnlyOnce>;

const LASTS = [
  { value: 'never', label: 'never' },
  { value: '1', label: 'in a day' },
  { value: '30', label: 'in 30 days' },
  { value: '365', label: 'in a year' },
] as const;

function NewToken({ onClose }: { onClose: () => void }) {
  const place = usePlace();
  const can = useCan();
  const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => KINDS[kind][1] === 'environment' || can('administer'));
  const [kind, setKind] = useState<Kind>('client');
  const [name, setName] = useState('');
  const [days, setDays] = useState<(typeof LASTS)[number]['value']>('never');
  const isOfEnvironment = KINDS[kind][1] === 'environment';
  const change = useChange((headers) => {
    const expires = days === 'never' ? {} : { expires_ms: Date.now() + Number(days) * 86_400_000 };
    return data(api.POST('/v1/tokens', { body: { kind, name, ...(isOfEnvironment ? place : {}), ...expires }, headers }));
  }, [TOKENS, ['environment-tokens', place.project, place.environment]]);
  return (
    <ChangeDialog title="A token" verb="Make it" change={change} isReady={name !== ''} onClose={onClose} done={once}>
      <Choice
        label="Kind"
        description={isOfEnvironment ? `of ${place.project}/${place.environment}` : 'everywhere'}
        data={kinds.map((kind) => ({ value: kind, label: `${kind}: ${KINDS[kind][0]}` }))}
        value={kind}
        onChange={setKind}
      />
      <Field label="Name" description="For people: what has it." required value={name} onChange={setName} data-autofocus />
      <Choice label="Ends" data={LASTS} value={days} onChange={setDays} />
    </ChangeDialog>
  );
}

const TOKEN = '/v1/tokens/{token_id}';

const paramsOf = (token: Token) => ({ path: { token_id: token.token_id } });

const useTokenTag = (change: Sent, token: Token) => useTag(change, [...TOKENS, token.token_id], (signal) => tagged(api.GET(TOKEN, { params: paramsOf(token), signal })));

function Rotate({ token, onClose }: { token: Token; onClose: () => void }) {
  const change = useChange((headers) => data(api.POST(`${TOKEN}/rotate`, { params: paramsOf(token), body: {}, headers })), [TOKENS]);
  const etag = useTokenTag(change, token);
  return (
    <ChangeDialog title={`Rotate ${token.name}`} verb="Make a successor" change={change} etag={etag} onClose={onClose} done={once}>
      <Text size="sm">A successor of the same kind and place. Both are valid for a day; then this one ends by itself.</Text>
    </ChangeDialog>
  );
}

function Revoke({ token, onClose }: { token: Token; onClose: () => void }) {
  const change = useChange((headers) => data(api.DELETE(TOKEN, { params: paramsOf(token), headers })), [TOKENS]);
  const etag = useTokenTag(change, token);
  const when = token.kind === 'client' ? 'Edges refuse it as soon as the next version arrives: within a quarter of a second.' : 'It opens nothing from now on.';
  return (
    <ChangeDialog title={`Revoke ${token.name}`} verb="Revoke" isHarmful change={change} etag={etag} onClose={onClose}>
      <Text size="sm">{when} Nothing brings it back.</Text>
    </ChangeDialog>
  );
}
