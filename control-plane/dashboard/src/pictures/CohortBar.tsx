// The million buckets of a flag as one strip: who sees the feature, who is kept as control, who is untouched, and what the next stage takes.
import { BUCKETS, cohortShares } from '../model/stops.ts';
import type { CohortSlice } from '../model/types.ts';
import { percent } from '../model/words.ts';
import { FONT, INK } from './ink.ts';

interface CohortBarProps {
  slices: readonly CohortSlice[];
  /** Percent of the units that the next stage will show the feature to. */
  next?: number | undefined;
}

export function CohortBar({ slices, next }: CohortBarProps) {
  const { exposed, control } = cohortShares(slices);
  const untouched = Math.max(0, 100 - exposed - control);
  const grows = next === undefined || next <= exposed ? 0 : next - exposed;
  const words = `${percent(exposed)} of the units see the feature, ${percent(control)} are kept as control, ${percent(untouched)} are untouched.`
    + (grows > 0 ? ` The next stage takes ${percent(grows)} more.` : '');
  const edge = Math.max(0, ...slices.filter((slice) => slice.arm === 'exposed').map((slice) => slice.to)) / BUCKETS * 100;
  return (
    <figure style={{ margin: 0 }}>
      <svg role="img" aria-label={words} width="100%" height="40" style={{ display: 'block' }}>
        <rect x="0" y="2" width="100%" height="20" rx="4" fill={INK.ground} />
        {grows > 0 ? <rect x={`${edge}%`} y="2" width={`${Math.min(grows, 100 - edge)}%`} height="20" fill={INK.exposed} fillOpacity="0.22" stroke={INK.exposed} strokeDasharray="3 3" /> : null}
        {slices.map((slice) => (
          <rect
            key={`${slice.arm}${slice.from}`} x={`${slice.from / BUCKETS * 100}%`} y="2" width={`${Math.max(0.15, (slice.to - slice.from) / BUCKETS * 100)}%`} height="20"
            fill={slice.arm === 'exposed' ? INK.exposed : INK.control} fillOpacity={slice.unenrolled === true ? 0.5 : 1} stroke={INK.paper} strokeWidth="0.5"
          >
            <title>{`${slice.arm}${slice.unenrolled === true ? ', counted no more' : ''}: buckets ${slice.from.toLocaleString('en-US')} to ${slice.to.toLocaleString('en-US')}, ${percent((slice.to - slice.from) / BUCKETS * 100)}${slice.phase == null ? '' : `, phase ${slice.phase}`}`}</title>
          </rect>
        ))}
        {[0, 25, 50, 75, 100].map((x) => (
          <text key={x} x={`${x}%`} y="36" fontSize="11" fill={INK.faint} textAnchor={x === 0 ? 'start' : x === 100 ? 'end' : 'middle'} style={FONT}>{x} %</text>
        ))}
      </svg>
      <figcaption style={{ display: 'flex', flexWrap: 'wrap', gap: '4px 16px', fontSize: 12, color: INK.faint, ...FONT }}>
        <Key colour={INK.exposed} text={`${percent(exposed)} exposed`} />
        {grows > 0 ? <Key colour={INK.exposed} isFaint text={`${percent(grows)} more with the next stage`} /> : null}
        <Key colour={INK.ground} text={`${percent(untouched)} untouched`} />
        <Key colour={INK.control} text={`${percent(control)} control`} />
      </figcaption>
    </figure>
  );
}

export function Key({ colour, text, isFaint = false }: { colour: string; text: string; isFaint?: boolean }) {
  return (
    <span style={{ display: 'inline-flex', alignItems: 'center', gap: 6 }}>
      <svg width="10" height="10" aria-hidden="true"><rect x="0.5" y="0.5" width="9" height="9" rx="2" fill={colour} fillOpacity={isFaint ? 0.22 : 1} stroke={INK.line} /></svg>
      {text}
    </span>
  );
}
