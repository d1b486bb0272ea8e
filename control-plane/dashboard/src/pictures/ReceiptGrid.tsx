// One square for each replica of a change: stored, on its way, refused; rows are regions.
import type { Schemas } from '../api';
import { duration } from '../model/words.ts';
import { FONT, INK } from './ink.ts';

/** `lag_ms` is counted from the commit, and absent until the replica has it. */
type Replica = Pick<Schemas['ReplicaArrival'], 'region' | 'shard' | 'lag_ms' | 'nack_code' | 'waiting_for_stage'>;

const SIDE = 20;

export function ReceiptGrid({ cells }: { cells: readonly Replica[] }) {
  const regions = [...new Set(cells.map((cell) => cell.region))];
  const stored = cells.filter((cell) => cell.lag_ms != null).length;
  const refused = cells.filter((cell) => cell.nack_code != null).length;
  const slowest = Math.max(0, ...cells.map((cell) => cell.lag_ms ?? 0));
  const words = cells.length === 0
    ? 'No replica is connected.'
    : `${stored} of ${cells.length} replicas have it${stored > 0 ? `, the slowest after ${duration(slowest)}` : ''}${refused > 0 ? `; ${refused} refused it` : ''}.`;
  const widest = Math.max(1, ...regions.map((region) => cells.filter((cell) => cell.region === region).length));
  return (
    <svg role="img" aria-label={words} width={110 + widest * SIDE} height={Math.max(1, regions.length) * SIDE + 2} style={{ display: 'block', maxWidth: '100%' }}>
      {regions.map((region, row) => (
        <g key={region}>
          <text x="0" y={row * SIDE + 14} fontSize="12" fill={INK.text} style={FONT}>{region.length > 14 ? `${region.slice(0, 13)}…` : region}</text>
          {cells.filter((cell) => cell.region === region).map((cell, column) => (
            <rect
              key={cell.shard} x={108 + column * SIDE} y={row * SIDE + 2} width={SIDE - 4} height={SIDE - 4} rx="3"
              fill={colourOf(cell)} stroke={cell.lag_ms == null ? INK.line : 'none'}
            >
              <title>{`${region} ${cell.shard}: ${stateOf(cell)}`}</title>
            </rect>
          ))}
        </g>
      ))}
    </svg>
  );
}

function colourOf(cell: Replica): string {
  if (cell.nack_code != null) return INK.harm;
  return cell.lag_ms == null ? INK.ground : INK.good;
}

function stateOf(cell: Replica): string {
  if (cell.nack_code != null) return `refused: ${cell.nack_code}`;
  if (cell.lag_ms != null) return `stored after ${duration(cell.lag_ms)}`;
  return cell.waiting_for_stage === null ? 'on its way' : 'waits for its stage';
}
