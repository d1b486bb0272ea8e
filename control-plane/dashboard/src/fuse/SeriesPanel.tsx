// The change of one metric against control over time, with the interval in which it lies and the threshold. Drawn by uPlot, which is read when it is needed.
import { Stack, Text, useComputedColorScheme } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import type uPlot from 'uplot';
import type { Place, Schemas } from '../api';
import { change, clock } from '../model/words.ts';
import { Asked, Empty } from '../parts';
import { series, type Series } from './reads';

const HEIGHT = 180;

/** One chart for each metric. */
export function SeriesPanel({ place, flag, policy }: { place: Place; flag: string; policy: Schemas['Policy'] }) {
  const query = useQuery(series(place, flag, new Map(policy.guardrails.map((one) => [one.metric, one.threshold]))));
  return (
    <Asked title="Over time" about="Change against control, with the interval in which it lies." query={query} lines={3}>
      {(lines) => lines.length === 0 ? <Empty>Nothing to draw yet: no slot with units of both arms has closed.</Empty> : (
        <div className="cards">
          {lines.map((line) => <Stack key={line.metric} gap={4} className="surface" p="sm"><Text size="sm" fw={600}><bdi>{line.metric}</bdi></Text><SeriesChart series={line} /></Stack>)}
        </div>
      )}
    </Asked>
  );
}

function SeriesChart({ series }: { series: Series }) {
  const box = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  useEffect(() => {
    const place = box.current;
    if (place === null) return undefined;
    let plot: uPlot | null = null;
    let isGone = false;
    const watch = new ResizeObserver(() => plot?.setSize({ width: place.clientWidth, height: HEIGHT }));
    void Promise.all([import('uplot'), import('uplot/dist/uPlot.min.css')]).then(([{ default: Plot }]) => {
      if (isGone) return;
      plot = new Plot(optionsOf(series, place), dataOf(series), place);
      watch.observe(place);
    });
    return () => {
      isGone = true;
      watch.disconnect();
      plot?.destroy();
    };
  }, [series, scheme]);
  return <div ref={box} role="img" aria-label={wordsOf(series)} style={{ minHeight: HEIGHT + 30 }} />;
}

function wordsOf({ metric, threshold, points }: Series): string {
  const known = points.filter((point) => point.change !== null);
  const [first, last] = [known[0], known[known.length - 1]];
  if (first === undefined || last === undefined) return `${metric}: nothing to draw yet.`;
  return `${metric} against control: ${change(first.change)} at ${clock(first.atMs)} UTC, ${change(last.change)} at ${clock(last.atMs)} UTC, between ${change(last.lower)} and ${change(last.upper)}; harm is beyond ${change(threshold)}.`;
}

function dataOf({ points, threshold }: Series): uPlot.AlignedData {
  return [points.map((point) => point.atMs / 1000), points.map((point) => point.lower), points.map((point) => point.upper), points.map((point) => point.change), points.map(() => threshold)];
}

const TIME = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** The first intervals reach far beyond anything that matters: the lines decide what is drawn, the band is cut. */
function rangeOf({ points, threshold }: Series): [number, number] {
  const known = points.flatMap((point) => (point.change === null ? [] : [point.change]));
  const low = Math.min(0, threshold, ...known);
  const high = Math.max(0, threshold, ...known);
  const last = points[points.length - 1];
  const room = Math.max(0.02, (high - low) * 0.5);
  return [Math.max(low - 3 * room, Math.min(low - room, last?.lower ?? low)), Math.min(high + 3 * room, Math.max(high + room, last?.upper ?? high))];
}

/** Stages and actions as lines across the chart, with their names on top. */
function drawMarks(plot: uPlot, { marks }: Series, ink: string): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = ink;
  ctx.fillStyle = ink;
  ctx.font = `${10 * devicePixelRatio}px system-ui`;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const { atMs, text } of marks) {
    const x = plot.valToPos(atMs / 1000, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(text, x + 3 * devicePixelRatio, bbox.top + 10 * devicePixelRatio);
  }
  ctx.restore();
}

function optionsOf(series: Series, place: HTMLElement): uPlot.Options {
  const style = getComputedStyle(place);
  const ink = (name: string) => style.getPropertyValue(name).trim();
  const percent = (value: number | null) => (value === null ? '–' : change(value));
  const axis = { stroke: ink('--mantine-color-dimmed'), grid: { stroke: ink('--ff-line'), width: 1 }, ticks: { stroke: ink('--ff-line'), width: 1 }, font: '11px system-ui' };
  const edge = { stroke: 'transparent', width: 0, points: { show: false }, value: (_: uPlot, value: number | null) => percent(value) };
  return {
    width: Math.max(200, place.clientWidth), height: HEIGHT, cursor: { drag: { x: true, y: false } }, hooks: { draw: [(plot) => drawMarks(plot, series, ink('--mantine-color-dimmed'))] }, legend: { live: true },
    scales: { x: { time: true }, y: { range: rangeOf(series) } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => TIME.format(new Date(tick * 1000))), space: 90 }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => change(tick)) }],
    bands: [{ series: [2, 1], fill: `${ink('--ff-exposed')}33` }],
    series: [
      { value: (_, seconds) => (seconds === null ? '–' : TIME.format(new Date(seconds * 1000))) },
      { ...edge, label: 'at least' },
      { ...edge, label: 'at most' },
      { label: 'change', stroke: ink('--ff-exposed'), width: 2, points: { show: series.points.length < 40 }, value: (_, value) => percent(value) },
      { label: 'harm beyond', stroke: ink('--ff-bad'), width: 1, dash: [4, 4], points: { show: false }, value: (_, value) => percent(value) },
    ],
  };
}
