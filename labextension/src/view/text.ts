/** Values as people read them. */

import type { Json, State, Task } from './types';

export const MARKS: Readonly<Record<State, string>> = {
  pending: '·',
  running: '▶',
  succeeded: '✓',
  failed: '✗',
  cancelled: '■',
  skipped: '–',
  unknown: '?'
};

/** Writes seconds: `0.4 s`, `12 s`, `1 m 12 s`, `2 h 05 m`. */
export function duration(seconds: number): string {
  if (seconds < 10) {
    return `${seconds.toFixed(1)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${whole} s`;
  }
  const two = (part: number): string => String(part).padStart(2, '0');
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  }
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
}

/** How long something took, or has taken until now (seconds since the epoch). */
export function lasted(one: { started: number | null; finished: number | null }, now: number): string {
  return one.started === null ? '' : duration(Math.max(0, (one.finished ?? now) - one.started));
}

/** The second line of a task's box. */
export function note(task: Task, now: number): string {
  if (task.cached) {
    return 'reused';
  }
  return lasted(task, now) || task.state;
}

/** Writes a value on one line, cut when it is long. */
export function valueText(value: Json, limit = 200): string {
  const text = (typeof value === 'string' ? value : JSON.stringify(value)).replace(/\s+/g, ' ');
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}
