/** How many runs run and fail, and which have just ended: for the status bar and for notifications. */

import { Signal } from '@lumino/signaling';

import type { Client } from '../api/client';
import type { RunEvent, RunRow } from '../api/types';
import { isFinal, type State } from '../view/types';
import type { Listener } from './feed';

const SOON = 300; // milliseconds in which changes are gathered

export class StatusModel implements Listener {
  readonly changed = new Signal<this, void>(this);
  /** A run that was seen unfinished has ended. */
  readonly ended = new Signal<this, RunRow>(this);
  counts: Partial<Record<State, number>> = {};
  private readonly states = new Map<string, State>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly client: Client) {}

  /** Asked again and again only while something runs: news of a first run come by themselves. */
  get isWatched(): boolean {
    return (this.counts.running ?? 0) + (this.counts.pending ?? 0) > 0;
  }

  onEvent(event: RunEvent): void {
    const { row } = event;
    const before = row === undefined ? undefined : this.states.get(row.id);
    if (row !== undefined) {
      if (isFinal(row.state)) {
        this.states.delete(row.id);
        if (before !== undefined) {
          this.ended.emit(row);
        }
      } else {
        this.states.set(row.id, row.state);
      }
    }
    if (row === undefined || row.state !== before) {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        void this.refresh().catch(() => undefined); // the poll tells that the server does not answer
      }, SOON);
    }
  }

  async refresh(): Promise<void> {
    const { states } = await this.client.status();
    this.counts = states;
    this.changed.emit();
    if (this.isWatched && this.states.size === 0) {
      await this.learnWhatRuns();
    }
  }

  /** After a page was loaded again, what runs is known, so that its end is told. */
  private async learnWhatRuns(): Promise<void> {
    const { runs } = await this.client.runs({ state: ['running', 'pending'], limit: 100 });
    for (const run of runs) {
      this.states.set(run.id, run.state);
    }
  }
}
