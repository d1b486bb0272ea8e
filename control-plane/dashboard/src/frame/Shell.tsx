// The frame of an environment's screens: navigation, environment, live state, palette, person.
import { ActionIcon, Alert, AppShell, Burger, Button, Group, Kbd, Menu, Stack, Text, Tooltip, UnstyledButton, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { Outlet, useNavigate, useRouterState } from '@tanstack/react-router';
import { useMutation, useQuery } from '@tanstack/react-query';
import { ChevronsUpDown, CircleUser, Keyboard, LogOut, Moon, Search, Sun, SunMoon } from 'lucide-react';
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useState } from 'react';
import { api, asProblem, data, environments, usePlaces } from '../api';
import { minuteTime, NavigationLink, NotFound, Opens, span, useNow } from '../parts';
import { isProduction, usePlace } from '../routes/place';
import { useSession } from '../session/session';
import { useLive } from '../live/live';
import { Help, useShortcuts } from './Keys';
import { SCREENS } from './places';
import { Password } from './SignIn';

/** The palette comes with the first ⌘K: who never presses it never fetches it. */
const Palette = lazy(() => import('./Palette').then(({ Palette }) => ({ default: Palette })));

function usePalette(): { open: () => void; shown: ReactNode } {
  const [isWanted, setWanted] = useState(false);
  const open = useCallback(() => {
    if (!isWanted) setWanted(true);
    else void import('@mantine/spotlight').then(({ spotlight }) => spotlight.toggle());
  }, [isWanted]);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'k' || !(event.metaKey || event.ctrlKey) || event.shiftKey || event.altKey) return;
      event.preventDefault();
      open();
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, [open]);
  const shown = isWanted ? (
    <Suspense><Palette /></Suspense>
  ) : null;
  return { open, shown };
}

export function Shell() {
  const [isOpen, { toggle, close }] = useDisclosure(false);
  const [helps, help] = useDisclosure(false);
  const place = usePlace();
  const production = isProduction(place.environment);
  useShortcuts(place, help.toggle);
  const palette = usePalette();
  const listed = useQuery(environments(place.project));
  // What one may not see is answered like what is not there.
  const isGone = listed.data === undefined ? asProblem(listed.error).code === 'unknown_project' : !listed.data.environments.some(({ key }) => key === place.environment);
  const isOpening = useRouterState({ select: (state) => state.isLoading });
  return (
    <AppShell header={{ height: 48 }} navbar={{ width: 208, breakpoint: 'sm', collapsed: { mobile: !isOpen } }} padding={{ base: 'sm', sm: 'lg' }}>
      {production && <div className="production-strip" aria-hidden="true" />}
      <AppShell.Header px="sm">
        <Group h="100%" justify="space-between" wrap="nowrap" gap="xs">
          <Group gap="xs" wrap="nowrap" style={{ minWidth: 0 }}>
            <Burger opened={isOpen} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="Navigation" />
            <Text fw={700} visibleFrom="sm" w={170}>Flagfuse</Text>
            <EnvironmentSwitch />
          </Group>
          <Group gap="sm" wrap="nowrap">
            <LiveDot />
            <Tooltip label="Go anywhere, do anything">
              <UnstyledButton onClick={palette.open} className="palette-button">
                <Search size={15} aria-hidden="true" />
                <Text size="xs" c="dimmed" className="wide">Search or act</Text>
                <Kbd size="xs" visibleFrom="md" aria-hidden="true">⌘K</Kbd>
              </UnstyledButton>
            </Tooltip>
            <PersonMenu onHelp={help.open} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Screens"><Screens onGo={close} /></AppShell.Navbar>
      <AppShell.Main aria-busy={isOpening}>
        <FirstPassword />
        {isGone ? <NotFound /> : <Outlet key={`${place.project}/${place.environment}`} />}
      </AppShell.Main>
      {palette.shown}
      <Help opened={helps} onClose={help.close} />
    </AppShell>
  );
}

/** Asked once, and never in the way. */
function FirstPassword() {
  const { needsPassword, settlePassword } = useSession();
  if (!needsPassword) return null;
  return (
    <Alert color="blue" mb="md" maw={1200} py="xs">
      <Group justify="space-between" gap="xs">
        <Text size="sm">You came by a link. With a password you need none the next time.</Text>
        <Group gap="xs">
          <Opens label="Choose one …" variant="filled">{(close) => <Password onClose={close} onDone={settlePassword} isFirst />}</Opens>
          <Button variant="default" onClick={settlePassword}>Later</Button>
        </Group>
      </Group>
    </Alert>
  );
}

function Screens({ onGo }: { onGo: () => void }) {
  const place = usePlace();
  const here = useRouterState({ select: (state) => state.matches.at(-1)?.routeId ?? '' });
  return (
    <Stack gap={2}>
      {SCREENS.map(({ label, to, icon: Icon, holds }) => {
        const isHere = holds.some((route) => here === `/$project/$environment${route}`);
        return (
          <NavigationLink
            key={to}
            to={to}
            params={{ ...place, tab: 'environments' }}
            label={label}
            active={isHere}
            // An address below another one's is not that one.
            activeOptions={{ exact: true, includeSearch: false }}
            aria-current={isHere ? 'page' : undefined}
            leftSection={<Icon size={16} />}
            onClick={onGo}
            py={6}
          />
        );
      })}
    </Stack>
  );
}

function PersonMenu({ onHelp }: { onHelp: () => void }) {
  const { who, lose } = useSession();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const place = usePlace();
  const navigate = useNavigate();
  const signOut = useMutation({
    mutationFn: () => data(api.DELETE('/v1/session')),
    onSuccess: () => {
      lose();
      // Nothing of what was on screen is kept for whoever comes next.
      window.location.assign(window.location.pathname);
    },
  });
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label={`Signed in as ${who?.name ?? 'nobody'}`}><CircleUser size={18} /></ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{who?.name}</Menu.Label>
        <Menu.Item leftSection={<CircleUser size={15} />} onClick={() => void navigate({ to: '/$project/$environment/settings/$tab', params: { ...place, tab: 'me' } })}>
          My sessions and password
        </Menu.Item>
        <Menu.Item leftSection={<Keyboard size={15} />} onClick={onHelp}>Shortcuts</Menu.Item>
        <Menu.Divider />
        {(
          [
            ['light', 'Light', Sun],
            ['dark', 'Dark', Moon],
            ['auto', 'Like the system', SunMoon],
          ] as const
        ).map(([scheme, label, Icon]) => (
          <Menu.Item key={scheme} leftSection={<Icon size={15} />} onClick={() => setColorScheme(scheme)} {...(colorScheme === scheme ? { fw: 600 } : {})}>
            {label}
            {colorScheme === scheme ? ' ✓' : ''}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item leftSection={<LogOut size={15} />} onClick={() => signOut.mutate()}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

/** Which environment is on screen, and the way to another one. */
function EnvironmentSwitch() {
  const place = usePlace();
  const navigate = useNavigate();
  const { places } = usePlaces();
  return (
    <Menu position="bottom-start" width={260}>
      <Menu.Target>
        <Button
          variant="default"
          size="xs"
          rightSection={<ChevronsUpDown size={13} />}
          maw={260}
          miw={0}
          aria-label={`Environment ${place.project}/${place.environment}: choose another one`}
          {...(isProduction(place.environment) ? { style: { borderColor: 'var(--ff-production)' } } : {})}
        >
          <span className="truncate">
            <span className="wide">{place.project} / </span>
            <b>{place.environment}</b>
          </span>
        </Button>
      </Menu.Target>
      <Menu.Dropdown mah="70vh" style={{ overflowY: 'auto' }}>
        {[...new Set(places.map((one) => one.project))].map((project) => (
          <div key={project} role="group" aria-label={project}>
            <Menu.Label>{project}</Menu.Label>
            {places.filter((one) => one.project === project).map((one) => (
              <Menu.Item key={one.environment} onClick={() => void navigate({ to: '/$project/$environment', params: { ...one } })} rightSection={isProduction(one.environment) ? <span className="dot" data-tone="bad" /> : undefined}>
                <Text size="sm" fw={project === place.project && one.environment === place.environment ? 700 : 400}>{one.environment}</Text>
              </Menu.Item>
            ))}
          </div>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

/** Whether what is on screen is live, and since when it is not. */
function LiveDot() {
  const { state } = useLive();
  const now = useNow();
  const [tone, words, short, about] = (() => {
    if (state.status === 'live') return ['good', `live · ${span(now - state.heardMs)}`, '', 'Since the control plane was heard last. It says at least every 15 s that it is there.'];
    if (state.status === 'broken') return ['warn', `not live since ${minuteTime(state.sinceMs)}`, `since ${minuteTime(state.sinceMs)}`, 'The change feed is broken. The page asks every 5 s until it is back.'];
    if (state.status === 'signed-out') return ['warn', 'signed out', 'signed out', 'Sign in to follow what happens.'];
    return ['quiet', 'connecting', '', 'The change feed is being opened.'];
  })();
  return (
    <Tooltip label={about} multiline maw={260}>
      <Group gap={6} wrap="nowrap" role="status" aria-live="off" data-live={state.status}>
        <span className="dot" data-tone={tone} />
        <Text size="xs" className="num" style={{ whiteSpace: 'nowrap' }} {...(tone === 'warn' ? { c: 'var(--ff-warn)', fw: 600 } : { c: 'dimmed' })}>
          <span className="wide">{words}</span>
          <span className="narrow" aria-hidden="true">{short}</span>
        </Text>
      </Group>
    </Tooltip>
  );
}
