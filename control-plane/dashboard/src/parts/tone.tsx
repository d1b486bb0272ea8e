// States in words, with a colour beside them: never a colour alone.
import type { Schemas } from '../api';

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'quiet';

/** A plain element: lists draw hundreds of them while somebody scrolls. */
export function Chip({ tone, children }: { tone: Tone; children: string }) {
  return <span className="chip" data-tone={tone}>{children}</span>;
}

const CIRCUIT: Record<Schemas['Circuit'], [Tone, string]> = {
  CLOSED: ['good', 'closed'],
  HALF_OPEN: ['warn', 'half open'],
  OPEN: ['bad', 'open'],
};

export function CircuitChip({ circuit }: { circuit: Schemas['Circuit'] }) {
  const [tone, word] = CIRCUIT[circuit];
  return <Chip tone={tone}>{word}</Chip>;
}
