// What this environment goes by, and another environment beside it.
import { Alert, Button, Group, SimpleGrid, Stack, Text, Textarea } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, AT, data, environments, type Place, read, type Schemas, tagged, useChange } from '../api';
import { Ago, ButtonLink, ChangeDialog, ChangeNote, Field, Loaded, Opens, Row, Rows, Section } from '../parts';
import { Choice } from '../parts/choice';
import { readNumber } from '../model/numbers.ts';
import { isProduction, usePlace } from '../routes/place';
import { useCan } from '../session/session';

type Environment = Schemas['Environment'];

const SETTINGS = `${AT}/settings` as const;

export function Environments() {
  const place = usePlace();
  const can = useCan();
  const [stored, setStored] = useState(false);
  const settings = useQuery(read('settings', place, (path, signal) => tagged(api.GET(SETTINGS, { params: { path }, signal }))));
  return (
    <Stack gap="lg">
      <Section title={`${place.project} / ${place.environment}`}>
        <Loaded query={settings}>
          {({ data, etag }) => (
            <Form key={etag} place={place} settings={data} etag={etag} mayEdit={can('administer', place.project, place.environment)} reload={() => void settings.refetch()} onStored={setStored} />
          )}
        </Loaded>
        {stored && <Alert color="green" role="status" withCloseButton closeButtonLabel="Close" onClose={() => setStored(false)}>Stored.</Alert>}
      </Section>
      <Section title={`Environments of ${place.project}`} actions={can('administer', place.project) && <Opens label="Another one …">{(close) => <NewEnvironment project={place.project} onClose={close} />}</Opens>}>
        <Loaded query={useQuery(environments(place.project))} lines={2}>
          {({ environments }) => (
            <Rows label="Environments">
              {environments.map((environment) => (
                <Row key={environment.key} end={environment.key !== place.environment && <ButtonLink variant="default" to="/$project/$environment" params={{ project: place.project, environment: environment.key }}>Open</ButtonLink>}>
                  {isProduction(environment.key) && <span className="dot" data-tone="bad" />}
                  <Text size="sm" fw={600}>{environment.key}</Text>
                  <Text size="sm" c="dimmed" component="span">
                    version <span className="num">{environment.version}</span>, {environment.profile}, made <Ago ms={environment.created_ms} />
                  </Text>
                </Row>
              ))}
            </Rows>
          )}
        </Loaded>
      </Section>
    </Stack>
  );
}

interface FormProps {
  place: Place;
  settings: Environment;
  etag: string | null;
  mayEdit: boolean;
  reload: () => void;
  onStored: (stored: boolean) => void;
}

/** Nothing may stand in the first: then no change has to be confirmed. */
const NUMBERS = {
  confirm_above_pct: { min: 0, max: 100, step: 1, unit: '%' },
  soak_s: { min: 0, max: 86_400, step: 1, unit: 's' },
  min_networks: { min: 1, max: 1_000, step: 1, unit: '' },
  enrolments_per_minute: { min: 0, max: 1_000_000, step: 1, unit: '' },
};

type NumberName = keyof typeof NUMBERS;

function Form({ place, settings, etag, mayEdit, reload, onStored }: FormProps) {
  const [draft, setDraft] = useState(() => texts(settings));
  const set = (name: keyof typeof draft) => (value: string) => setDraft({ ...draft, [name]: value });
  const read = (name: NumberName) => (name === 'confirm_above_pct' && draft[name].trim() === '' ? { ok: true as const, value: null } : readNumber(draft[name], NUMBERS[name]));
  const names = Object.keys(NUMBERS) as NumberName[];
  const isSound = names.every((name) => read(name).ok);
  const numbers = Object.fromEntries(names.map((name) => { const one = read(name); return [name, one.ok ? one.value : null]; }));
  const lists = draft.stages.split('\n').map((line) => line.split(',').map((name) => name.trim()).filter((name) => name !== ''));
  const next = { ...numbers, profile: draft.profile, auto_exposure: draft.auto_exposure, stages: lists.filter((stage) => stage.length > 0) };
  const changed = Object.fromEntries(Object.entries(next).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(settings[name as keyof Environment])));
  const change = useChange(
    (headers) => data(api.PATCH(SETTINGS, { params: { path: place }, body: changed, headers })),
    [['settings', place.project, place.environment], ['environments', place.project]],
  );
  const number = (name: NumberName, label: string, description?: string) => {
    const one = read(name);
    return <Field label={label} description={description} inputMode="numeric" value={draft[name]} onChange={set(name)} error={one.ok ? null : one.why} readOnly={!mayEdit} />;
  };
  const choice = (name: 'profile' | 'auto_exposure', label: string, description: string, data: string[]) => (
    <Choice label={label} description={description} data={data} value={draft[name] as string} onChange={set(name)} readOnly={!mayEdit} />
  );
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onStored(false);
        void change.run(etag).then(onStored);
      }}
    >
      <Stack className="surface" p="md" gap="md">
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          {number('confirm_above_pct', 'Confirm changes of more than … % of decisions', 'Nothing: no change has to be confirmed. Switching off never has to.')}
          {choice('profile', 'Freshness', 'strict: an answer is at most 250 ms old; economy: 1 s, with fewer probes.', ['strict', 'economy'])}
          {choice('auto_exposure', 'Exposures', 'single: asking for one flag counts as seeing it; off: clients report what they used.', ['single', 'off'])}
          {number('min_networks', 'Networks that harm has to come from', 'Before it trips a fuse.')}
          {number('enrolments_per_minute', 'Enrolments a minute, from one network by one key', '0 is without a limit.')}
          {number('soak_s', 'Seconds that a version stays with a stage')}
          <Textarea
            label="Stages"
            description="Regions that get a version together, one stage a line. Nothing: all at once."
            placeholder={'canary\neu, us'}
            autosize
            minRows={2}
            value={draft.stages}
            onChange={(event) => set('stages')(event.currentTarget.value)}
            readOnly={!mayEdit}
          />
        </SimpleGrid>
        <ChangeNote change={change} onStale={reload} onDone={() => onStored(true)} />
        {mayEdit && (
          <Group justify="flex-end">
            <Button type="submit" disabled={Object.keys(changed).length === 0 || !isSound} loading={change.state.step === 'sending'}>Store</Button>
          </Group>
        )}
      </Stack>
    </form>
  );
}

/** The settings as they are typed. */
function texts(settings: Environment) {
  return {
    confirm_above_pct: settings.confirm_above_pct === null ? '' : String(settings.confirm_above_pct),
    soak_s: String(settings.soak_s),
    min_networks: String(settings.min_networks),
    enrolments_per_minute: String(settings.enrolments_per_minute),
    profile: settings.profile,
    auto_exposure: settings.auto_exposure,
    stages: settings.stages.map((stage) => stage.join(', ')).join('\n'),
  };
}

function NewEnvironment({ project, onClose }: { project: string; onClose: () => void }) {
  const [key, setKey] = useState('');
  const change = useChange((headers) => {
    const body = { key, min_networks: 1, enrolments_per_minute: 0 };
    return data(api.POST('/v1/projects/{project}/environments', { params: { path: { project } }, body, headers }));
  }, [['environments', project]]);
  return (
    <ChangeDialog title="Another environment" verb="Make it" change={change} isReady={key !== ''} onClose={onClose}>
      <Field label="Key" description="Lower-case letters, digits, - and _." required value={key} onChange={setKey} data-autofocus />
      <Text size="sm" c="dimmed">It inherits the project's flags. They serve there what the project says.</Text>
    </ChangeDialog>
  );
}
