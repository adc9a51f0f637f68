/** One run that is open: read whole once, then only what has changed. */

import { Signal } from '@lumino/signaling';

import type { Client } from '../api/client';
import type { RunDetail, RunEvent, TaskChange } from '../api/types';
import type { Task } from '../view/types';
import type { Listener } from './feed';

const SOON = 100; // milliseconds in which changes are gathered before details are read

export class RunModel implements Listener {
  readonly changed = new Signal<this, void>(this);
  isWatched = true;
  run: RunDetail | undefined;
  isGone = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isReading = false;
  private readAgain = false;

  constructor(
    private readonly client: Client,
    readonly id: string
  ) {}

  /** Our clock as the server's. */
  get now(): number {
    return Date.now() / 1000 + (this.skew ?? 0);
  }

  private skew: number | undefined;

  /** Reads what has changed; called again meanwhile, it reads once more. */
  async refresh(): Promise<void> {
    if (this.isReading) {
      this.readAgain = true;
      return;
    }
    this.isReading = true;
    try {
      do {
        this.readAgain = false;
        this.merge(await this.client.run(this.id, this.run?.revision ?? 0));
      } while (this.readAgain);
    } finally {
      this.isReading = false;
    }
  }

  onEvent(event: RunEvent): void {
    if (event.run_id !== this.id) {
      return;
    }
    if (event.kind === 'deleted') {
      this.isGone = true;
      this.changed.emit();
      return;
    }
    const run = this.run;
    if (run === undefined || event.row === undefined || event.revision <= run.revision) {
      return;
    }
    // What the drawing shows is in the event; the details are read a moment later.
    const { state, attempt, started, finished, name, url, archived } = event.row;
    this.run = { ...run, state, attempt, started, finished, name, url, archived, tasks: patch(run.tasks, event.tasks ?? []) };
    this.changed.emit();
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.refresh().catch(() => undefined); // the poll tells that the server does not answer
    }, SOON);
  }

  private merge(found: RunDetail): void {
    this.skew = found.now - Date.now() / 1000;
    const before = this.run;
    if (before === undefined || found.revision < before.revision) {
      this.run = found;
    } else {
      const fresh = new Map(found.tasks.map(task => [task.id, task]));
      const known = new Set(before.tasks.map(task => task.id));
      const tasks = before.tasks.map(task => fresh.get(task.id) ?? task);
      this.run = { ...found, tasks: [...tasks, ...found.tasks.filter(task => !known.has(task.id))] };
    }
    this.changed.emit();
  }
}

function patch(tasks: Task[], changes: readonly TaskChange[]): Task[] {
  if (changes.length === 0) {
    return tasks;
  }
  const byId = new Map(changes.map(change => [change.id, change]));
  return tasks.map(task => {
    const change = byId.get(task.id);
    return change === undefined ? task : { ...task, ...change };
  });
}
