// The first screen, for whoever is called, whoever decides, and whoever looks for a fault; and the first steps where nothing happened yet.
import { Tabs } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { FirstSteps } from '../overview/FirstSteps';
import { OnCall } from '../overview/OnCall';
import { Page, Waiting } from '../parts';
import { usePlace } from './place';

const Executive = lazy(() => import('../overview/Executive').then(({ Executive }) => ({ default: Executive })));
const Debug = lazy(() => import('../overview/Debug').then(({ Debug }) => ({ default: Debug })));

const VIEWS = { 'on-call': 'On call', executive: 'Executive', debug: 'Debug' };

export function Overview() {
  const place = usePlace();
  const navigate = useNavigate();
  const { view = 'on-call' } = useSearch({ strict: false });
  const shown = view in VIEWS ? view : 'on-call';
  const show = (next: string | null) =>
    void navigate({ to: '/$project/$environment', params: { ...place }, search: next === null || next === 'on-call' ? {} : { view: next }, replace: true });
  return (
    <Page title="Overview">
      {shown === 'on-call' && <FirstSteps />}
      <Tabs value={shown} onChange={show} keepMounted={false}>
        <Tabs.List mb="md" className="no-print">
          {Object.entries(VIEWS).map(([name, label]) => <Tabs.Tab key={name} value={name}>{label}</Tabs.Tab>)}
        </Tabs.List>
        {Object.keys(VIEWS).map((name) => (
          <Tabs.Panel key={name} value={name}>
            <div className="stack">{name === 'on-call' ? <OnCall /> : <Suspense fallback={<Waiting />}>{name === 'executive' ? <Executive /> : <Debug />}</Suspense>}</div>
          </Tabs.Panel>
        ))}
      </Tabs>
    </Page>
  );
}
