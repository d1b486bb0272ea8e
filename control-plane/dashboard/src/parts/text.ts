// A text that stands for a value: what was typed counts for as long as the value is the one that it was read as.
import { useState } from 'react';
import type { Read } from '../model/json.ts';

interface Texts<V> {
  value: V;
  print: (value: V) => string;
  read: (text: string) => Read<V>;
  /** Called with another value; a text that cannot be read changes none. */
  onChange: (value: V) => void;
  isSame?: (one: V, other: V) => boolean;
}

export function useText<V>({ value, print, read, onChange, isSame = Object.is }: Texts<V>): { text: string; why: string | null; isTyped: boolean; type: (text: string) => void; forget: () => void } {
  const [typed, setTyped] = useState<{ text: string; value: V } | null>(null);
  const isTyped = typed !== null && isSame(typed.value, value);
  const text = isTyped ? typed.text : print(value);
  const now = read(text);
  const type = (next: string) => {
    const taken = read(next);
    setTyped({ text: next, value: taken.ok ? taken.value : value });
    if (taken.ok && !isSame(taken.value, value)) onChange(taken.value);
  };
  return { text, why: now.ok ? null : now.why, isTyped, type, forget: () => setTyped(null) };
}
