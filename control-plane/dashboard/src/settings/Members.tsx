// Who may sign in, and what they may do where. An invitation is a link that is shown once.
import { Group, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, basePath, data, type Schemas, type Sent, tagged, useChange, useTag } from '../api';
import { Choice } from '../parts/choice';
import { Ago, ChangeDialog, Field, Loaded, OnlyOnce, Opens, Row, Rows, Section, Time } from '../parts';
import { mayIn, useSession } from '../session/session';
import { usePlace } from '../routes/place';

type Member = Schemas['Member'];
type Role = Schemas['MemberRole'];

const MEMBERS = ['members'] as const;
const TOUCHES = [MEMBERS];

export function Members() {
  const { who } = useSession();
  const owns = mayIn(who, 'own');
  // Nobody manages somebody who may do more.
  const mayManage = (member: Member) => owns || !member.roles.some(({ role }) => role === 'owner');
  return (
    <Section title="Members" actions={<Opens label="Invite …">{(close) => <Invite onClose={close} />}</Opens>}>
      <Loaded query={useQuery({ queryKey: MEMBERS, queryFn: ({ signal }) => data(api.GET('/v1/members', { signal })) })}>
        {({ members }) => (
          <Rows label="Members">
            {members.map((member) => {
              const actions = (
                <>
                  <Opens label="Role …">{(close) => <Roles member={member} onClose={close} />}</Opens>
                  <Opens label="Sign-in link …">{(close) => <Link member={member} onClose={close} />}</Opens>
                  <Opens label="Remove …" c="red">{(close) => <Remove member={member} onClose={close} />}</Opens>
                </>
              );
              return (
                <Row key={member.user_id} end={mayManage(member) ? actions : null}>
                  <Text size="sm" fw={600} className="break">{member.name}</Text>
                  <Text size="sm" component="span">{member.roles.map(roleWords).join(', ') || 'no role'}</Text>
                  <Text size="xs" c="dimmed" component="span">{member.has_password ? '' : 'no password · '}since <Ago ms={member.created_ms} /></Text>
                </Row>
              );
            })}
          </Rows>
        )}
      </Loaded>
    </Section>
  );
}

function roleWords(role: Schemas['RoleIn']): string {
  if (role.project === null || role.project === undefined) return `${role.role} everywhere`;
  return `${role.role} in ${role.project}${role.environment ? `/${role.environment}` : ''}`;
}

interface Draft {
  role: Role;
  where: 'tenant' | 'project' | 'environment';
}

/** Which role, and where: the tenant, this project or this environment, as far as the caller may. */
function RoleFields({ draft, onChange }: { draft: Draft; onChange: (draft: Draft) => void }) {
  const place = usePlace();
  const { who } = useSession();
  const places: { value: Draft['where']; label: string }[] = [{ value: 'environment', label: `in ${place.project}/${place.environment}` }];
  if (mayIn(who, 'administer', place.project)) places.unshift({ value: 'project', label: `in ${place.project}` });
  if (mayIn(who, 'administer')) places.unshift({ value: 'tenant', label: 'everywhere' });
  const roles: Role[] = ['admin', 'editor', 'approver', 'viewer'];
  return (
    <Group grow>
      <Choice label="Role" data={mayIn(who, 'own') ? ['owner', ...roles] : roles} value={draft.role} onChange={(role) => onChange({ ...draft, role })} />
      <Choice label="Where" data={places} value={draft.where} onChange={(where) => onChange({ ...draft, where })} />
    </Group>
  );
}

function useDraft(first?: Schemas['RoleIn']): [Draft, (draft: Draft) => void, () => Schemas['RoleIn'][]] {
  const place = usePlace();
  const { who } = useSession();
  const widest = mayIn(who, 'administer') ? 'tenant' : mayIn(who, 'administer', place.project) ? 'project' : 'environment';
  const [draft, setDraft] = useState<Draft>({
    role: first?.role ?? 'viewer',
    where: first === undefined ? widest : first.environment ? 'environment' : first.project ? 'project' : 'tenant',
  });
  const roles = () => [
    {
      role: draft.role,
      ...(draft.where === 'tenant' ? {} : { project: first?.project ?? place.project }),
      ...(draft.where === 'environment' ? { environment: first?.environment ?? place.environment } : {}),
    },
  ];
  return [draft, setDraft, roles];
}

function LinkOnce({ link }: { link: Pick<Schemas['SignInLink'], 'fragment' | 'expires_ms'> }) {
  const address = `${window.location.origin}${basePath()}${link.fragment.startsWith('#') ? link.fragment : `#${link.fragment}`}`;
  return <OnlyOnce label="Sign-in link" text={address}>Hand this link over. It works once, until <Time ms={link.expires_ms} />, and is shown only now.</OnlyOnce>;
}

function Invite({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState('');
  const [draft, setDraft, roles] = useDraft();
  const change = useChange((headers) => data(api.POST('/v1/members', { body: { name, roles: roles() }, headers })), TOUCHES);
  return (
    <ChangeDialog title="Invite" verb="Invite" change={change} isReady={name !== ''} onClose={onClose} done={(link) => <LinkOnce link={link} />}>
      <Field label="Name" description="a to z, 0 to 9 and . _ + @ -" required value={name} onChange={setName} data-autofocus />
      <RoleFields draft={draft} onChange={setDraft} />
    </ChangeDialog>
  );
}

const MEMBER = '/v1/members/{user_id}';

const paramsOf = (member: Member) => ({ path: { user_id: member.user_id } });

const useMemberTag = (change: Sent, member: Member) => useTag(change, [...MEMBERS, member.user_id], (signal) => tagged(api.GET(MEMBER, { params: paramsOf(member), signal })));

function Roles({ member, onClose }: { member: Member; onClose: () => void }) {
  const [draft, setDraft, roles] = useDraft(member.roles[0]);
  const others = member.roles.slice(1);
  const change = useChange((headers) => data(api.PUT(MEMBER, { params: paramsOf(member), body: { roles: [...roles(), ...others] }, headers })), TOUCHES);
  const etag = useMemberTag(change, member);
  return (
    <ChangeDialog title={`Role of ${member.name}`} verb="Give it" change={change} etag={etag} onClose={onClose}>
      <RoleFields draft={draft} onChange={setDraft} />
      {others.length > 0 && <Text size="sm" c="dimmed">Stays as it is: {others.map(roleWords).join(', ')}.</Text>}
    </ChangeDialog>
  );
}

function Remove({ member, onClose }: { member: Member; onClose: () => void }) {
  const change = useChange((headers) => data(api.DELETE(MEMBER, { params: paramsOf(member), headers })), TOUCHES);
  const etag = useMemberTag(change, member);
  return (
    <ChangeDialog title={`Remove ${member.name}`} verb="Remove" isHarmful change={change} etag={etag} onClose={onClose}>
      <Text size="sm">They are signed out everywhere at once. What they did stays in the audit trail.</Text>
    </ChangeDialog>
  );
}

function Link({ member, onClose }: { member: Member; onClose: () => void }) {
  const change = useChange((headers) => data(api.POST(`${MEMBER}/link`, { params: paramsOf(member), body: {}, headers })), TOUCHES);
  return (
    <ChangeDialog title={`A sign-in link for ${member.name}`} verb="Make it" change={change} onClose={onClose} done={(link) => <LinkOnce link={link} />}>
      <Text size="sm">It takes the place of the one before.</Text>
    </ChangeDialog>
  );
}
