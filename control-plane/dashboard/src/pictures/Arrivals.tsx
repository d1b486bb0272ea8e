// How the last versions arrived: a strip of versions × replicas, how long they took to be everywhere, and the lags of one replica.
import { binsOf, lagInWords, logStep, quantile, type RecentArrival, type Replica, replicaName, SHADES_MS, shadeOf } from '../model/arrivals.ts';
import { counted, duration } from '../model/words.ts';
import type { Place } from '../api';
import { TextLink } from '../parts';
import { FONT, INK } from './ink.ts';
import './pictures.css';

interface Told { arrivals: readonly RecentArrival[]; replicas: readonly Replica[] }

/** For the eye and the pointer: it stands beside a table that has the same numbers and links for everybody else. */
export function ArrivalStrip({ arrivals, replicas, place }: Told & { place: Place }) {
  return (
    <div aria-hidden="true">
      <div className="strip">
        <div className="strip-column strip-names">{replicas.map((replica) => <span key={replicaName(replica)}>{replicaName(replica)}</span>)}</div>
        {[...arrivals].reverse().map((arrival) => (
          <TextLink key={arrival.version} to="/$project/$environment/changes/$version" params={{ ...place, version: arrival.version }} tabIndex={-1} className="strip-column">
            {replicas.map((replica, at) => (
              <span key={replicaName(replica)} className="strip-cell" data-shade={shadeOf(arrival.lags_ms[at] ?? null)} title={`${arrival.version} in ${replicaName(replica)}: ${lagInWords(arrival.lags_ms[at])}`} />
            ))}
          </TextLink>
        ))}
      </div>
      <div className="strip-key">
        {[...SHADES_MS.map((end) => `to ${duration(end)}`), 'more'].map((words, shade) => <span key={words}><i className="strip-cell" data-shade={shade} />{words}</span>)}
        <span><i className="strip-cell" />not there yet</span>
      </div>
    </div>
  );
}

const HEIGHT = 146;
const FLOOR = 122;
const TOP = 62;
const TICKS_MS = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000];

/** From the commit to everywhere, by logarithm; behind the middle one the time for which an isolate may still answer with an older one. */
export function ArrivalHistogram({ arrivals, boundMs }: { arrivals: readonly RecentArrival[]; boundMs: number }) {
  const times = arrivals.flatMap(({ everywhere_ms }) => (everywhere_ms === null ? [] : [everywhere_ms]));
  const max = quantile(times, 1);
  if (max === null) return null;
  const middle = quantile(times, 0.5) ?? max;
  const marks = [['p50', middle], ['p99', quantile(times, 0.99) ?? max], ['max', max]] as const;
  const bins = binsOf(times);
  const most = Math.max(...bins.map((bin) => bin.count));
  const first = Math.floor(logStep(bins[0]?.fromMs ?? 1) / 5) * 5 - 1;
  const last = logStep(Math.max(max, middle + boundMs)) + 2;
  const x = (ms: number) => ((logStep(ms) - first) / (last - first)) * 100;
  const words = `From the commit to everywhere, of ${counted(times.length, 'version')}: ${marks.map(([name, ms]) => `${name} ${duration(ms)}`).join(', ')}. After that no answer is older than ${duration(boundMs)}.`;
  return (
    <figure className="picture">
      <svg role="img" aria-label={words} width="100%" height={HEIGHT}>
        <rect x={`${x(middle)}%`} width={`${x(middle + boundMs) - x(middle)}%`} y="44" height={FLOOR - 44} fill={INK.wait} fillOpacity="0.14" />
        <text x={`${x(middle)}%`} dx="5" y="56" fontSize="11" fill={INK.text} style={FONT}>{`H: at most ${duration(boundMs)} more`}</text>
        {bins.map(({ fromMs, toMs, count }) => (
          <rect key={fromMs} x={`${x(fromMs)}%`} width={`${Math.max(0.2, x(toMs) - x(fromMs) - 0.3)}%`} y={FLOOR - (count / most) * (FLOOR - TOP)} height={(count / most) * (FLOOR - TOP)} fill={INK.exposed}>
            <title>{`${duration(fromMs)} to ${duration(toMs)}: ${counted(count, 'version')}`}</title>
          </rect>
        ))}
        {marks.map(([name, ms], at) => (
          <g key={name}>
            <line x1={`${x(ms)}%`} x2={`${x(ms)}%`} y1={14 + at * 14} y2={FLOOR} stroke={INK.text} strokeDasharray={['none', '5 3', '1 3'][at]} />
            <text x={`${x(ms)}%`} dx={x(ms) > 50 ? -4 : 4} y={11 + at * 14} fontSize="11" textAnchor={x(ms) > 50 ? 'end' : 'start'} fill={INK.text} style={FONT}>{`${name} ${duration(ms)}`}</text>
          </g>
        ))}
        <line x1="0" x2="100%" y1={FLOOR} y2={FLOOR} stroke={INK.line} />
        {TICKS_MS.filter((ms) => x(ms) > 3 && x(ms) < 97).map((ms) => <text key={ms} x={`${x(ms)}%`} y={FLOOR + 15} fontSize="11" textAnchor="middle" fill={INK.faint} style={FONT}>{duration(ms)}</text>)}
      </svg>
      <figcaption>{words}</figcaption>
    </figure>
  );
}

const SPARK = { width: 96, height: 20 };

/** The lags of one replica by logarithm, the newest at the right; a gap where a version has not arrived. */
export function LagLine({ lags }: { lags: readonly (number | null)[] }) {
  const known = lags.filter((lag) => lag !== null);
  const [least, most] = [quantile(known, 0), quantile(known, 1)];
  if (least === null || most === null) return <>–</>;
  const step = SPARK.width / Math.max(1, lags.length - 1);
  const range = Math.max(1, logStep(most) - logStep(least));
  const points = [...lags].reverse().map((lag, at) => (lag === null ? null : `${at * step},${SPARK.height - 2 - ((logStep(lag) - logStep(least)) / range) * (SPARK.height - 4)}`));
  const path = points.map((point, at) => (point === null ? '' : `${at === 0 || points[at - 1] === null ? 'M' : 'L'}${point}`)).join('');
  const missing = lags.length - known.length;
  return (
    <svg role="img" aria-label={`Lags of the last ${counted(lags.length, 'version')}: ${duration(least)} to ${duration(most)}${missing === 0 ? '' : `, ${missing} not there yet`}.`} {...SPARK} className="spark">
      <path d={path} fill="none" stroke={INK.exposed} strokeWidth="1.5" strokeLinecap="round" />
    </svg>
  );
}
