// How much evidence there is, from −100 % (no harm is proven) to +100 % (harm is proven). It is evidence, no probability.
import { FONT, INK } from './ink.ts';

export interface EvidenceMeterProps {
  metric: string;
  /** 0 to 100: how near a trip is. */
  harm: number;
  /** 0 to 100: how near the proof of no harm is; absent where none is asked for. */
  noHarm?: number | undefined;
  /** What a full right side does. */
  does?: string;
}

const whole = (value: number) => `${Math.round(value)} %`;

export function EvidenceMeter({ metric, harm, noHarm, does = 'trips the fuse' }: EvidenceMeterProps) {
  const left = noHarm ?? 0;
  const words = `${metric}: evidence of harm ${whole(harm)} of what ${does}${noHarm === undefined ? '' : `; evidence of no harm ${whole(left)} of what is needed`}.`;
  return (
    <svg role="img" aria-label={words} width="100%" height="44" style={{ display: 'block', overflow: 'visible' }}>
      <rect x="0" y="6" width="100%" height="16" rx="4" fill={INK.ground} />
      {[25, 75].map((x) => <line key={x} x1={`${x}%`} x2={`${x}%`} y1="6" y2="22" stroke={INK.line} />)}
      {left > 0 ? <rect x={`${50 - left / 2}%`} y="6" width={`${left / 2}%`} height="16" rx="2" fill={INK.good} /> : null}
      {harm > 0 ? <rect x="50%" y="6" width={`${harm / 2}%`} height="16" rx="2" fill={INK.harm} /> : null}
      <line x1="50%" x2="50%" y1="2" y2="26" stroke={INK.text} strokeWidth="1.5" />
      <text x="0" y="39" fontSize="11" fill={INK.faint} style={FONT}>−100 % no harm</text>
      <text x="50%" y="39" fontSize="11" textAnchor="middle" fill={INK.text} style={FONT}>{left > harm ? `−${whole(left)}` : harm > 0 ? `+${whole(harm)}` : '0 %'}</text>
      <text x="100%" y="39" fontSize="11" textAnchor="end" fill={INK.faint} style={FONT}>harm +100 %</text>
    </svg>
  );
}
