// Times: 24 hours, local, with UTC on hover; spans in the largest unit that says enough.
import { Tooltip } from '@mantine/core';
import { useEffect, useState } from 'react';

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });

/** `14:03:07`, with the day where it is another one, the day alone where the year is. */
export function shortTime(ms: number, nowMs = Date.now()): string {
  const date = new Date(ms);
  const now = new Date(nowMs);
  if (now.toDateString() === date.toDateString()) return clock.format(date);
  if (now.getFullYear() !== date.getFullYear()) return `${day.format(date)} ${date.getFullYear()}`;
  return `${day.format(date)} ${clock.format(date).slice(0, 5)}`;
}

/** `14:03`. */
export const minuteTime = (ms: number) => clock.format(new Date(ms)).slice(0, 5);

export const utc = (ms: number) => `${new Date(ms).toISOString().replace('T', ' ').slice(0, 23)} UTC`;

/** `12 s`, `4 min`, `3 h 10 min`, `5 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 || hours >= 10 ? `${hours}\u00a0h` : `${hours}\u00a0h ${minutes % 60}\u00a0min`;
  return `${Math.floor(hours / 24)}\u00a0d`;
}

/** The time, renewed each so many milliseconds. */
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function Time({ ms, children = shortTime(ms) }: { ms: number; children?: string }) {
  return (
    <Tooltip label={`${full.format(new Date(ms))} · ${utc(ms)}`}>
      <time className="num" dateTime={new Date(ms).toISOString()}>{children}</time>
    </Tooltip>
  );
}

/** `4 min ago`, or `in 4 min`, renewed by itself. */
export function Ago({ ms }: { ms: number }) {
  const now = useNow(5_000);
  return <Time ms={ms}>{ms - now > 1500 ? `in ${span(ms - now)}` : now - ms < 1500 ? 'now' : `${span(now - ms)} ago`}</Time>;
}
