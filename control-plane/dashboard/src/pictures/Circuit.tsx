// The three states of a fuse as a picture: the one it is in is lit, and so are the ways out of it.
import type { MoveInWords } from '../model/fuse.ts';
import { type Circuit as State } from '../model/types.ts';
import { FONT, INK } from './ink.ts';

const PLACES: Record<State, number> = { CLOSED: 14, OPEN: 50, HALF_OPEN: 86 };
const COLOUR: Record<State, string> = { CLOSED: INK.good, OPEN: INK.harm, HALF_OPEN: INK.wait };
const NAMES: Record<State, string> = { CLOSED: 'closed', OPEN: 'open', HALF_OPEN: 'half open' };
const STATES: readonly State[] = ['CLOSED', 'OPEN', 'HALF_OPEN'];
const NODE = { width: 84, height: 34, y: 46 };

export function circuitName(state: State): string {
  return NAMES[state];
}

export function Circuit({ state, moves }: { state: State; moves: readonly MoveInWords[] }) {
  const said = moves.map((move) => `To ${NAMES[move.to]}: ${move.words}`).join(' ');
  const lit = (from: State, to: State) => state === from && moves.some((move) => move.to === to);
  return (
    <svg role="img" aria-label={`The fuse is ${NAMES[state]}. ${said}`} width="100%" height="112" style={{ display: 'block', overflow: 'visible' }}>
      <Edge from={PLACES.CLOSED} to={PLACES.OPEN} y={NODE.y + 10} isLit={lit('CLOSED', 'OPEN')} name="trip" labelY={NODE.y + 4} />
      <Edge from={PLACES.OPEN} to={PLACES.CLOSED} y={NODE.y + 25} isLit={lit('OPEN', 'CLOSED')} name="close" labelY={NODE.y + 39} />
      <Edge from={PLACES.OPEN} to={PLACES.HALF_OPEN} y={NODE.y + 10} isLit={lit('OPEN', 'HALF_OPEN')} name="try" labelY={NODE.y + 4} />
      <Edge from={PLACES.HALF_OPEN} to={PLACES.OPEN} y={NODE.y + 25} isLit={lit('HALF_OPEN', 'OPEN')} name="trip" labelY={NODE.y + 39} />
      <Detour isLit={lit('HALF_OPEN', 'CLOSED')} />
      {STATES.map((one) => <Node key={one} state={one} isLit={one === state} />)}
    </svg>
  );
}

function Node({ state, isLit }: { state: State; isLit: boolean }) {
  const { width, height, y } = NODE;
  return (
    <svg x={`${PLACES[state]}%`} y={y} overflow="visible">
      {isLit ? <rect x={-width / 2 - 4} y={-4} width={width + 8} height={height + 8} rx="12" fill="none" stroke={COLOUR[state]} strokeOpacity="0.35" strokeWidth="4" /> : null}
      <rect x={-width / 2} y={0} width={width} height={height} rx="9" fill={isLit ? COLOUR[state] : INK.paper} stroke={isLit ? COLOUR[state] : INK.line} strokeWidth="1.5" />
      <text x="0" y={height / 2 + 4} textAnchor="middle" fontSize="12" fontWeight={isLit ? 700 : 500} fill={isLit ? INK.paper : INK.faint} style={FONT}>
        {state.replace('_', ' ')}
      </text>
    </svg>
  );
}

interface EdgeProps { from: number; to: number; y: number; isLit: boolean; name: string; labelY: number }

/** From the middle of one node to the middle of another: the nodes are drawn above it, and the head stands before the second. */
function Edge({ from, to, y, isLit, name, labelY }: EdgeProps) {
  const toRight = to > from;
  const ink = isLit ? INK.text : INK.line;
  const tip = NODE.width / 2 + 5;
  return (
    <g>
      <line x1={`${from}%`} x2={`${to}%`} y1={y} y2={y} stroke={ink} strokeWidth={isLit ? 2 : 1.5} />
      <svg x={`${to}%`} y={y} overflow="visible">
        <polygon points={toRight ? `${-tip},0 ${-tip - 8},-4 ${-tip - 8},4` : `${tip},0 ${tip + 8},-4 ${tip + 8},4`} fill={ink} />
      </svg>
      <text x={`${(from + to) / 2}%`} y={labelY} textAnchor="middle" fontSize="11" fill={isLit ? INK.text : INK.faint} style={FONT}>{name}</text>
    </g>
  );
}

/** From half open back to closed, around the node between them. */
function Detour({ isLit }: { isLit: boolean }) {
  const ink = isLit ? INK.text : INK.line;
  const [right, left, top, bottom] = [`${PLACES.HALF_OPEN}%`, `${PLACES.CLOSED}%`, 18, NODE.y];
  const width = isLit ? 2 : 1.5;
  return (
    <g>
      <line x1={right} x2={right} y1={bottom} y2={top} stroke={ink} strokeWidth={width} />
      <line x1={left} x2={right} y1={top} y2={top} stroke={ink} strokeWidth={width} />
      <line x1={left} x2={left} y1={top} y2={bottom - 6} stroke={ink} strokeWidth={width} />
      <svg x={left} y={bottom} overflow="visible"><polygon points="0,-5 -4,-13 4,-13" fill={ink} /></svg>
      <text x="50%" y={top - 5} textAnchor="middle" fontSize="11" fill={isLit ? INK.text : INK.faint} style={FONT}>recover</text>
    </g>
  );
}
