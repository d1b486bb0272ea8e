// Text to take along: a command, a secret, a link.
import { ActionIcon, Code, CopyButton, Group, Tooltip } from '@mantine/core';
import { Check, Copy } from 'lucide-react';

export function CopyIcon({ value, label }: { value: string; label: string }) {
  return (
    <CopyButton value={value} timeout={1500}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? 'Copied' : label}>
          <ActionIcon variant="subtle" color="gray" onClick={copy} aria-label={copied ? 'Copied' : label}>
            {copied ? <Check size={15} /> : <Copy size={15} />}
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

export function Snippet({ text, label = 'Copy' }: { text: string; label?: string }) {
  return (
    <Group wrap="nowrap" gap="xs" align="flex-start">
      {/* What scrolls has to be reachable by keyboard. */}
      <Code block flex={1} miw={0} tabIndex={0} role="group" aria-label={label}>{text}</Code>
      <CopyIcon value={text} label={label} />
    </Group>
  );
}
