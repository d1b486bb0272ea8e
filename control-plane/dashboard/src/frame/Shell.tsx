// The frame of an environment's screens: navigation, environment, live state, palette, person.
import { ActionIcon, Alert, AppShell, Burger, Button, Group, Kbd, Menu, Stack, Text, Tooltip, UnstyledButton, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { Outlet, useNavigate, useRouterState } from '@tanstack/react-router';
import { useMutation, useQuery } from '@tanstack/react-query';
import { CircleUser, Keyboard, LogOut, Moon, Search, Sun, SunMoon } from 'lucide-react';
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useState } from 'react';
import { api, asProblem, data, environments } from '../api';
import { NavigationLink, NotFound, Opens } from '../parts';
import { usePlace, isProduction } from '../routes/place';
import { useSession } from '../session/session';
import { EnvironmentSwitch } from './EnvironmentSwitch';
import { Help, useShortcuts } from './Keys';
import { LiveDot } from './LiveDot';
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
