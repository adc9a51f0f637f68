/** A list of runs that may be very long: only the pages that are looked at are there. */

import type { Client } from '../api/client';
import type { RunEvent, RunRow } from '../api/types';
import { matches, toQuery, type Filter } from './filter';

const PAGE = 100;

export class Section {
  /** How many runs there are. */
  total = 0;
  /** The server's clock minus ours, in seconds. */
  skew = 0;
  isLoaded = false;
  private rows: (RunRow | undefined)[] = [];
  private readonly asked = new Set<number>();
  private generation = 0;
  private seen: [number, number] = [0, PAGE];

  constructor(
    private readonly client: Client,
    readonly filter: Filter,
    private readonly onChange: () => void
  ) {}

  row(at: number): RunRow | undefined {
    return this.rows[at];
  }

  /** Where a run stands among those that are there. */
  indexOf(id: string): number {
    return this.rows.findIndex(row => row?.id === id);
  }

  /** Says which rows are looked at; those that are missing are asked for. */
  look(from: number, to: number): void {
    this.seen = [from, to];
    for (const page of pagesOf(from, to)) {
      if (!this.asked.has(page) && page * PAGE < Math.max(1, this.total)) {
        void this.load(page).catch(() => this.asked.delete(page)); // the next look asks again
      }
    }
  }

  /** Reads what is looked at again; what is not is forgotten when something has moved. */
  async refresh(): Promise<void> {
    await Promise.all(pagesOf(...this.seen).map(page => this.load(page)));
  }

  /**
   * Takes a change.
   *
   * @returns Whether the order or the number of runs is not what it was, and `refresh` has to tell.
   */
  take(event: RunEvent): boolean {
    const at = event.run_id === undefined ? -1 : this.indexOf(event.run_id);
    const row = event.row;
    if (row === undefined) {
      return at >= 0 || event.kind === 'deleted';
    }
    if (at < 0) {
      return matches(this.filter, row);
    }
    const before = this.rows[at];
    if (before !== undefined && before.revision <= row.revision) {
      this.rows[at] = row;
      this.onChange();
    }
    return !matches(this.filter, row);
  }

  private async load(page: number): Promise<void> {
    this.asked.add(page);
    const generation = this.generation;
    const found = await this.client.runs({ ...toQuery(this.filter), offset: page * PAGE, limit: PAGE });
    if (generation !== this.generation) {
      return;
    }
    const before = this.rows[page * PAGE]?.id;
    if (this.isLoaded && (found.total !== this.total || (before !== undefined && before !== found.runs[0]?.id))) {
      // Rows have moved: what is out of sight is asked for again when it is looked at.
      this.generation += 1;
      this.asked.clear();
      this.asked.add(page);
      const kept = pagesOf(...this.seen);
      this.rows = this.rows.map((row, at) => (kept.includes(Math.floor(at / PAGE)) ? row : undefined));
      this.rows.length = Math.min(this.rows.length, found.total);
    }
    found.runs.forEach((row, at) => {
      const known = this.rows[page * PAGE + at];
      this.rows[page * PAGE + at] = known?.id === row.id && known.revision > row.revision ? known : row;
    });
    this.total = found.total;
    this.skew = found.now - Date.now() / 1000;
    this.isLoaded = true;
    this.onChange();
    this.look(...this.seen);
  }
}

function pagesOf(from: number, to: number): number[] {
  const first = Math.floor(Math.max(0, from) / PAGE);
  const last = Math.floor(Math.max(0, to - 1) / PAGE);
  return Array.from({ length: Math.max(1, last - first + 1) }, (_, at) => first + at);
}
