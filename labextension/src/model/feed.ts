/**
 * How news come in: changes from Jupyter's event stream as they happen, and now and then a look at everything, since
 * the stream has no replay. Nothing is asked while nobody looks.
 */

import type { Event } from '@jupyterlab/services';
import { DisposableDelegate, type IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { Signal } from '@lumino/signaling';

import { EVENT_SCHEMA, type RunEvent } from '../api/types';

/** Somebody who shows something. */
export interface Listener {
  /** Takes a change. */
  onEvent(event: RunEvent): void;
  /** Reads everything again. */
  refresh(): Promise<void>;
  /** Whether it is looked at now; one that is not is asked again when it is. */
  readonly isWatched: boolean;
}

export class Feed implements IDisposable {
  /** Whether the server answered when it was last asked. */
  readonly reached = new Signal<this, boolean>(this);
  private isReached = true;
  private readonly listeners = new Set<Listener>();
  private readonly poll: Poll;
  private lookAgain = false;

  constructor(
    private readonly stream: Event.Stream,
    interval: number
  ) {
    stream.connect(this.onEmission, this);
    this.poll = new Poll({
      name: 'kfp-magics:snapshot',
      factory: () => this.look(),
      frequency: { interval, backoff: true, max: 60_000 },
      standby: () => (this.watched.length === 0 ? true : 'when-hidden')
    });
    document.addEventListener('visibilitychange', this.onVisible);
  }

  get isDisposed(): boolean {
    return this.poll.isDisposed;
  }

  /** Changes how often everything is looked at. */
  set interval(milliseconds: number) {
    if (milliseconds !== this.poll.frequency.interval) {
      this.poll.frequency = { ...this.poll.frequency, interval: milliseconds };
    }
  }

  /** Lets somebody hear until the result is disposed. */
  listen(listener: Listener): IDisposable {
    this.listeners.add(listener);
    return new DisposableDelegate(() => this.listeners.delete(listener));
  }

  /** Reads everything again at once. */
  async refresh(): Promise<void> {
    await this.poll.refresh();
    await this.poll.tick;
  }

  dispose(): void {
    this.stream.disconnect(this.onEmission, this);
    document.removeEventListener('visibilitychange', this.onVisible);
    this.poll.dispose();
    Signal.clearData(this);
  }

  private get watched(): Listener[] {
    return [...this.listeners].filter(one => one.isWatched);
  }

  private async look(): Promise<void> {
    try {
      await Promise.all(this.watched.map(one => one.refresh()));
      this.setReached(true);
    } catch (error) {
      this.setReached(false);
      throw error; // so that the poll backs off
    }
  }

  private setReached(isReached: boolean): void {
    if (isReached !== this.isReached) {
      this.isReached = isReached;
      this.reached.emit(isReached);
    }
  }

  private onEmission(_: unknown, emission: Event.Emission): void {
    if (emission.schema_id !== EVENT_SCHEMA) {
      return;
    }
    const event = emission as unknown as RunEvent; // the server validates it against the schema
    for (const listener of this.listeners) {
      listener.onEvent(event);
    }
    if (event.kind === 'reset' && !this.lookAgain) {
      this.lookAgain = true;
      void this.poll.refresh().finally(() => (this.lookAgain = false));
    }
  }

  /** What was missed while the page was hidden is made good as soon as it is not. */
  private readonly onVisible = (): void => {
    if (!document.hidden && this.watched.length > 0) {
      void this.poll.refresh();
    }
  };
}
