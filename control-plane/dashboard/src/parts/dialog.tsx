// A dialog before something is changed: what it asks, what the change answers, and what is in the answer and nowhere else.
import { Alert, Button, type ButtonProps, Group, Modal, PasswordInput, type PasswordInputProps, Stack, TextInput, type TextInputProps } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import type { Change } from '../api';
import { ChangeNote } from './change';
import { Snippet } from './copy';

interface Asked<T> {
  title: string;
  verb: string;
  change: Change<T>;
  /** Tag of the state that the change is of, where it has one. */
  etag?: string | null | undefined;
  isReady?: boolean;
  isHarmful?: boolean;
  size?: string;
  onClose: () => void;
  /** Called once it is through; without it, the dialog closes. */
  onDone?: (() => void) | undefined;
  /** Shown in the place of the question once it is done; without it, the dialog closes. */
  done?: (answer: T) => ReactNode;
  children: ReactNode;
}

/** Stands as long as its caller shows it. */
export function ChangeDialog<T>({ title, verb, change, etag = null, isReady = true, isHarmful = false, size = 'md', onClose, onDone = onClose, done, children }: Asked<T>) {
  const { state } = change;
  const isDone = state.step === 'done' && done !== undefined;
  const settle = () => (done === undefined ? onDone() : undefined);
  return (
    <Modal opened onClose={onClose} title={title} size={size} centered>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady && !isDone) void change.run(etag).then((ok) => (ok ? settle() : undefined));
        }}
      >
        <Stack gap="sm">
          {isDone ? done(state.answer) : children}
          <ChangeNote change={change} onDone={settle} onStale={onClose} />
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={onClose}>{isDone ? 'Close' : 'Cancel'}</Button>
            {!isDone && (
              <Button type="submit" disabled={!isReady} loading={state.step === 'sending'} data-autofocus {...(isHarmful ? { color: 'red' } : {})}>
                {verb}
              </Button>
            )}
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

/** A button, and what it opens for as long as that is wanted. */
export function Opens({ label, children, ...look }: Omit<ButtonProps, 'children'> & { label: string; children: (close: () => void) => ReactNode }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button variant="default" {...look} onClick={() => setOpen(true)}>{label}</Button>
      {isOpen && children(() => setOpen(false))}
    </>
  );
}

/** What is in one answer and nowhere else. */
export function OnlyOnce({ label, text, children }: { label: string; text: string; children: ReactNode }) {
  return (
    <Stack gap="xs">
      <Alert color="yellow">{children}</Alert>
      <Snippet text={text} label={label} />
    </Stack>
  );
}

type Typed<P> = Omit<P, 'onChange' | 'value'> & { value: string; onChange: (value: string) => void };

export const Field = ({ onChange, ...rest }: Typed<TextInputProps>) => <TextInput {...rest} onChange={(event) => onChange(event.currentTarget.value)} />;

export const Secret = ({ onChange, ...rest }: Typed<PasswordInputProps>) => <PasswordInput {...rest} onChange={(event) => onChange(event.currentTarget.value)} />;
