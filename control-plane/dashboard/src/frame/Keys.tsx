// Shortcuts of every screen, and the page that lists them.
import { Group, Kbd, Modal, Stack, Text } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import type { Place } from '../api';
import { SCREENS } from './places';

/** A `g` counts this long. */
const CHORD_MS = 1_200;

/** Whether somebody is writing. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName));
}

export function useShortcuts(place: Place, onHelp: () => void): void {
  const navigate = useNavigate();
  const chord = useRef(0);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target)) return;
      if (document.querySelector('[role="dialog"]') !== null) return;
      if (event.key === '?') {
        event.preventDefault();
        onHelp();
      } else if (event.key === 'g') {
        chord.current = event.timeStamp;
      } else if (event.timeStamp - chord.current < CHORD_MS) {
        const screen = SCREENS.find(({ key }) => key === event.key);
        chord.current = 0;
        if (screen === undefined) return;
        event.preventDefault();
        void navigate({ to: screen.to, params: { ...place, tab: 'environments' } });
      }
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, [navigate, place, onHelp]);
}

const OTHERS: readonly (readonly [string, string])[] = [
  ['⌘K', 'palette: go anywhere, do anything'],
  ['/', 'search in this list'],
  ['j k', 'next and previous row'],
  ['x', 'choose a row'],
  ['⏎', 'open a row'],
  ['e', 'edit'],
  ['⌘S', 'review what is not saved'],
  ['⌘⏎', 'publish'],
  ['?', 'this page'],
];

export function Help({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return (
    <Modal opened={opened} onClose={onClose} title="Shortcuts" centered>
      <Stack gap={6}>
        {SCREENS.map(({ label, key }) => <Row key={label} keys={`g ${key}`} does={label} />)}
        {OTHERS.map(([keys, does]) => <Row key={keys} keys={keys} does={does} />)}
      </Stack>
    </Modal>
  );
}

function Row({ keys, does }: { keys: string; does: string }) {
  return (
    <Group justify="space-between">
      <Text size="sm">{does}</Text>
      <Group gap={4}>{keys.split(' ').map((key) => <Kbd key={key}>{key}</Kbd>)}</Group>
    </Group>
  );
}
