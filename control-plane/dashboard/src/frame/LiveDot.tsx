// Whether what is on screen is live, and since when it is not.
import { Group, Text, Tooltip } from '@mantine/core';
import { useLive } from '../live/live';
import { minuteTime, span, useNow } from '../parts';

export function LiveDot() {
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
