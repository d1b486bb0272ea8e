// A trip from the first harmful event to "off everywhere", step below step, each with its time.
import type { Step } from '../model/trip.ts';
import { clockMs, duration } from '../model/words.ts';
import { FONT, INK } from './ink.ts';

const ROW = 30;

/** Steps far apart are drawn by logarithm of the time since the first one: hours of watching and milliseconds of pushing fit on one line. */
function placeOf(ms: number, span: number): number {
  if (span <= 0) return 0;
  return (Math.log10(1 + ms) / Math.log10(1 + span)) * 100;
}

export function TripWaterfall({ steps, from = 'committed' }: { steps: readonly Step[]; from?: string }) {
  const known = steps.filter((step): step is Step & { at_ms: number } => step.at_ms !== null);
  const anchor = known.find((step) => step.id === from)?.at_ms ?? known[0]?.at_ms;
  if (anchor === undefined) return <p>Nothing of this trip is known yet.</p>;
  const early = Math.max(1, ...known.map((step) => anchor - step.at_ms));
  const late = Math.max(1, ...known.map((step) => step.at_ms - anchor));
  const place = (at: number) => (at <= anchor ? 44 - placeOf(anchor - at, early) * 0.42 : 44 + placeOf(at - anchor, late) * 0.54);
  const words = steps.map((step) => `${step.title}: ${step.at_ms === null ? 'not yet' : `${clockMs(step.at_ms)} UTC, ${offset(step.at_ms - anchor)}`}`).join('. ');
  return (
    <svg role="img" aria-label={`${words}.`} width="100%" height={steps.length * ROW + 6} style={{ display: 'block', overflow: 'visible' }}>
      <line x1="44%" x2="44%" y1="0" y2={steps.length * ROW} stroke={INK.line} strokeDasharray="3 3" />
      {steps.map((step, row) => {
        const y = row * ROW;
        const x = step.at_ms === null ? 100 : place(step.at_ms);
        const colour = step.at_ms === null ? INK.line : step.tone === 'harm' ? INK.harm : step.tone === 'good' ? INK.good : INK.exposed;
        return (
          <g key={step.id}>
            <text x="0" y={y + 12} fontSize="12" fill={step.at_ms === null ? INK.faint : INK.text} style={FONT}>{step.title}{step.at_ms === null ? null : <tspan fill={INK.faint}>{` · ${clockMs(step.at_ms)}`}</tspan>}</text>
            <text x="100%" y={y + 12} fontSize="12" textAnchor="end" fill={INK.faint} style={FONT}>{step.at_ms === null ? 'not yet' : offset(step.at_ms - anchor)}</text>
            <line x1="0" x2="100%" y1={y + 20} y2={y + 20} stroke={INK.line} />
            {step.at_ms === null ? null : <line x1={`${Math.min(44, x)}%`} x2={`${Math.max(44, x)}%`} y1={y + 20} y2={y + 20} stroke={colour} strokeWidth="3" />}
            <circle cx={`${x}%`} cy={y + 20} r="5" fill={step.at_ms === null ? INK.paper : colour} stroke={colour} strokeWidth="1.5"><title>{step.at_ms === null ? 'not yet' : `${clockMs(step.at_ms)} UTC`}</title></circle>
          </g>
        );
      })}
    </svg>
  );
}

/** `committed` is zero; what came before has a minus. */
function offset(ms: number): string {
  return ms === 0 ? '0 ms' : ms > 0 ? `+${duration(ms)}` : duration(ms);
}
