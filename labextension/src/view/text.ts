/** Values as people read them. */

import { t, tn } from './i18n';
import type { Json, Run, RunKind, State, Task } from './types';

/** Names a state. */
export function stateWord(state: State): string {
  switch (state) {
    case 'pending':
      return t('pending');
    case 'running':
      return t('running');
    case 'succeeded':
      return t('succeeded');
    case 'failed':
      return t('failed');
    case 'cancelled':
      return t('cancelled');
    case 'skipped':
      return t('skipped');
    case 'unknown':
      return t('unknown');
  }
}

/** Names a task. */
export function title(task: Task): string {
  return visible(task.kind === 'iteration' ? t('item %1', task.name) : task.name);
}

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
  if (whole < 86400) {
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
  }
  return `${Math.floor(whole / 86400)} d ${two(Math.floor((whole % 86400) / 3600))} h`;
}

/** How long something took, or has taken until now (seconds since the epoch). */
export function lasted(one: { started: number | null; finished: number | null }, now: number): string {
  return one.started === null ? '' : duration(Math.max(0, (one.finished ?? now) - one.started));
}

/** The moment for which a run and its tasks are drawn: of what nobody knows of, no time goes on. */
export function asOf(run: { stale?: number | null }, now: number): number {
  return run.stale ?? now;
}

/** How long ago a moment was. */
export function ago(then: number, now: number): string {
  const seconds = Math.max(0, now - then);
  if (seconds < 60) {
    return t('just now');
  }
  if (seconds < 3600) {
    return t('%1 min ago', Math.floor(seconds / 60));
  }
  if (seconds < 86400) {
    return t('%1 h ago', Math.floor(seconds / 3600));
  }
  if (seconds < 7 * 86400) {
    return tn('%1 day ago', '%1 days ago', Math.floor(seconds / 86400));
  }
  return new Date(then * 1000).toLocaleDateString();
}

/** Since when a run's backend has not told where it stands, and why; nothing while it does. */
export function staleSince(run: Pick<Run, 'stale' | 'stale_reason'>): string {
  if (typeof run.stale !== 'number') {
    return '';
  }
  const then = new Date(run.stale * 1000);
  const isToday = then.toDateString() === new Date().toDateString();
  return t('stale since %1: %2', isToday ? then.toLocaleTimeString() : moment(run.stale), visible(run.stale_reason ?? ''));
}

/** A moment in full, in the user's way. */
export function moment(then: number): string {
  return new Date(then * 1000).toLocaleString();
}

/** The second line of a task's box. */
export function note(task: Task, now: number): string {
  if (task.cached) {
    return t('reused');
  }
  if (task.kind === 'image' && task.reason !== '') {
    return task.reason; // what a build does, or did
  }
  return lasted(task, now) || stateWord(task.state);
}

/** Writes a value on one line, cut when it is long. */
export function valueText(value: Json, limit = 200): string {
  const whole = typeof value === 'string' ? value : JSON.stringify(value);
  // Megabytes are cut before they are searched.
  const text = visible(whole.slice(0, 4 * limit + 100).replace(/\s+/g, ' '));
  return text.length <= limit && whole.length <= 4 * limit + 100 ? text : `${text.slice(0, limit - 1)}…`;
}

/** Makes control characters visible and takes from direction marks what they do to the text around them. */
export function visible(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, one => String.fromCharCode(0x2400 + one.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029]/g, '\u00b7');
}

/** The last part of a path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** A number of bytes: `812 B`, `4.2 kB`, `1.3 MB`. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power] ?? ''}`;
}

const TRIGGER = 'trigger: ';

/** The new data that started a run: its URI, or nothing when something else did. */
export function trigger(run: Pick<Run, 'started_by'>): string {
  return run.started_by.startsWith(TRIGGER) ? visible(run.started_by.slice(TRIGGER.length, 1000)) : '';
}

/** Who started a run, in a word or two. */
export function starter(run: Pick<Run, 'started_by' | 'notebook'>): string {
  if (trigger(run) !== '') {
    return t('new data');
  }
  if (run.started_by === 'notebook' && run.notebook !== '') {
    return visible(fileName(run.notebook).slice(0, 100));
  }
  switch (run.started_by) {
    case 'notebook':
      return t('a notebook');
    case 'cli':
      return t('command line');
    case 'schedule':
      return t('schedule');
    default:
      return visible(run.started_by.slice(0, 100));
  }
}

/** How far a run is, or a build. */
export function stepsDone(done: number, total: number, kind: RunKind): string {
  if (kind === 'build') {
    return total === 1 ? t('%1 of 1 image', done) : t('%1 of %2 images', done, total);
  }
  return total === 1 ? t('%1 of 1 step', done) : t('%1 of %2 steps', done, total);
}

/** Whether an address is that of a page: a store that somebody else wrote could hold a script. */
export function isPage(url: string): boolean {
  return /^https?:\/\//.test(url);
}
