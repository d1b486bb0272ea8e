// A field whose text is a part of the address: it is typed at once and sent a moment later.
import { TextInput, type TextInputProps } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { type Ref, useState } from 'react';

const PAUSE_MS = 150;

type FilterProps = Omit<TextInputProps, 'value' | 'onChange'> & { value: string | undefined; onChange: (value: string) => void; ref?: Ref<HTMLInputElement> };

export function Filter({ value = '', onChange, ...rest }: FilterProps) {
  // What was typed counts until the address says something else.
  const [typed, setTyped] = useState<{ text: string; value: string } | null>(null);
  const send = useDebouncedCallback((text: string) => onChange(text.trim()), PAUSE_MS);
  const type = (text: string) => {
    setTyped({ text, value });
    send(text);
  };
  return <TextInput {...rest} value={typed !== null && typed.value === value ? typed.text : value} onChange={(event) => type(event.currentTarget.value)} />;
}

/** A search without what is empty. */
export function clean<T extends object>(search: T): T {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined && value !== '')) as T;
}
