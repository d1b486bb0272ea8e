// A week before and a week after now: spans as bars, moments as marks above them.
import { daysAround, rowsOf, type Span } from '../model/arrivals.ts';
import { FONT, INK } from './ink.ts';

interface DaysProps {
  /** What is drawn, in a sentence. */
  label: string;
  nowMs: number;
  spans: readonly (Span & { id: string; words: string; isOn: boolean })[];
  marks: readonly { id: number; atMs: number; words: string; isGrave: boolean }[];
}

const ROW = 14;
const TOP = 40;
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric' });

export function Days({ label, nowMs, spans, marks }: DaysProps) {
  const days = daysAround(nowMs);
  const [from, to] = [days[0] ?? nowMs, days[days.length - 1] ?? nowMs];
  const x = (ms: number) => ((Math.min(to, Math.max(from, ms)) - from) / (to - from)) * 100;
  const seen = spans.filter((span) => span.to_ms > from && span.from_ms < to);
  const rows = rowsOf(seen);
  const floor = TOP + Math.max(1, ...rows.map((row) => row + 1)) * ROW + 4;
  return (
    <svg role="img" aria-label={label} width="100%" height={floor + 2} style={{ display: 'block', overflow: 'visible' }}>
      {days.slice(0, -1).map((ms, at) => (
        <g key={ms}>
          <line x1={`${x(ms)}%`} x2={`${x(ms)}%`} y1="16" y2={floor} stroke={INK.line} />
          <text x={`${(x(ms) + x(days[at + 1] ?? to)) / 2}%`} y="11" fontSize="11" textAnchor="middle" fill={at === 7 ? INK.text : INK.faint} fontWeight={at === 7 ? 700 : 400} style={FONT}>{day.format(ms)}</text>
        </g>
      ))}
      {seen.map((span, at) => (
        <rect key={span.id} x={`${x(span.from_ms)}%`} width={`${Math.max(0.5, x(span.to_ms) - x(span.from_ms))}%`} y={TOP + (rows[at] ?? 0) * ROW} height={ROW - 3} rx="2" fill={span.isOn ? INK.wait : INK.faint}><title>{span.words}</title></rect>
      ))}
      {marks.filter(({ atMs }) => atMs >= from && atMs <= to).map(({ id, atMs, words, isGrave }) => (
        <svg key={id} x={`${x(atMs)}%`} y="28" overflow="visible"><path d={isGrave ? 'M0,-6 L5,4 L-5,4 Z' : 'M0,-4 L4,0 L0,4 L-4,0 Z'} fill={isGrave ? INK.harm : INK.wait}><title>{words}</title></path></svg>
      ))}
      <line x1={`${x(nowMs)}%`} x2={`${x(nowMs)}%`} y1="14" y2={floor} stroke={INK.text} strokeWidth="1.5" />
    </svg>
  );
}
