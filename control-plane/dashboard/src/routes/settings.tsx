// Settings: what an environment goes by, who may do what, tokens, keys, and one's own sessions. What one may not see is no tab.
import { Tabs } from '@mantine/core';
import { useNavigate, useParams } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { Page } from '../parts';
import { mayIn, useSession } from '../session/session';
import { Environments } from '../settings/Environments';
import { KeyStatus } from '../settings/Keys';
import { Me } from '../settings/Me';
import { Members } from '../settings/Members';
import { Tokens } from '../settings/Tokens';
import { usePlace } from './place';

export function Settings() {
  const place = usePlace();
  const { who } = useSession();
  const { tab = 'environments' } = useParams({ strict: false });
  const navigate = useNavigate();
  const administers = (who?.rights ?? []).some((in_) => in_.rights.includes('administer'));
  const tabs: [string, string, ReactNode][] = [
    ['environments', 'Environments', <Environments key="environments" />],
    ...(administers ? ([['members', 'Members', <Members key="members" />]] as [string, string, ReactNode][]) : []),
    ['tokens', 'Tokens', <Tokens key="tokens" />],
    ...(mayIn(who, 'read') ? ([['keys', 'Keys', <KeyStatus key="keys" />]] as [string, string, ReactNode][]) : []),
    ...(who?.kind === 'person' ? ([['me', 'My account', <Me key="me" />]] as [string, string, ReactNode][]) : []),
  ];
  const shown = tabs.some(([name]) => name === tab) ? tab : 'environments';
  return (
    <Page title="Settings">
      <Tabs
        value={shown}
        onChange={(next) => void navigate({ to: '/$project/$environment/settings/$tab', params: { ...place, tab: next ?? 'environments' } })}
        keepMounted={false}
      >
        <Tabs.List mb="md">{tabs.map(([name, label]) => <Tabs.Tab key={name} value={name}>{label}</Tabs.Tab>)}</Tabs.List>
        {tabs.map(([name, , content]) => <Tabs.Panel key={name} value={name}>{content}</Tabs.Panel>)}
      </Tabs>
    </Page>
  );
}
