/** The runs that the panel lists: in groups or not, as the filter lets them through. */

import { Signal } from '@lumino/signaling';

import type { Client } from '../api/client';
import type { Facets, RunEvent, RunRow } from '../api/types';
import { EVERYTHING, toQuery, within, type Filter, type Grouping } from './filter';
import type { Listener } from './feed';
import { Section } from './section';

/** One line of the list: the head of a group, or a run (which may not have been read yet). */
export type Line =
  | { kind: 'group'; value: string; count: number; isOpen: boolean }
  | { kind: 'run'; row: RunRow | undefined; at: number; of: number; depth: number };

interface Group {
  value: string;
  count: number;
  isOpen: boolean;
  section: Section;
}

const SOON = 150; // milliseconds in which changes are gathered before the list is read again

export class RunList implements Listener {
  /** Something looks different. */
  readonly changed = new Signal<this, void>(this);
  isWatched = false;
  facets: Facets | undefined;
  private filter_: Filter = EVERYTHING;
  private grouping_: Grouping = 'none';
  private groups: Group[] = [];
  private readonly opened = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly client: Client) {
    this.groups = [this.makeGroup('', 0, true)];
  }

  get filter(): Filter {
    return this.filter_;
  }

  get grouping(): Grouping {
    return this.grouping_;
  }

  /** Whether the first answer has come. */
  get isLoaded(): boolean {
    return this.facets !== undefined && (this.groups[0]?.section.isLoaded ?? true);
  }

  /** The server's clock minus ours, in seconds. */
  get skew(): number {
    return this.groups[0]?.section.skew ?? 0;
  }

  /** How many lines there are. */
  get length(): number {
    return this.groups.reduce((sum, group) => sum + this.heads + (group.isOpen ? group.section.total : 0), 0);
  }

  /** Shows other runs. */
  async show(filter: Filter, grouping: Grouping): Promise<void> {
    this.filter_ = filter;
    this.grouping_ = grouping;
    this.groups = grouping === 'none' ? [this.makeGroup('', 0, true)] : [];
    await this.refresh();
  }

  /** What stands on a line. */
  line(at: number): Line | undefined {
    let left = at;
    for (const group of this.groups) {
      if (left < this.heads) {
        return { kind: 'group', value: group.value, count: group.count, isOpen: group.isOpen };
      }
      left -= this.heads;
      const { total } = group.section;
      if (group.isOpen && left < total) {
        return { kind: 'run', row: group.section.row(left), at: left, of: total, depth: this.heads };
      }
      left -= group.isOpen ? total : 0;
    }
    return undefined;
  }

  /** The line of a run that is there. */
  find(id: string): number {
    let before = 0;
    for (const group of this.groups) {
      const at = group.isOpen ? group.section.indexOf(id) : -1;
      if (at >= 0) {
        return before + this.heads + at;
      }
      before += this.heads + (group.isOpen ? group.section.total : 0);
    }
    return -1;
  }

  /** Says which lines are seen. */
  look(from: number, to: number): void {
    let before = 0;
    for (const group of this.groups) {
      before += this.heads;
      const total = group.isOpen ? group.section.total : 0;
      if (from < before + total && to > before) {
        group.section.look(Math.max(0, from - before), Math.min(total, to - before));
      }
      before += total;
    }
  }

  /** Opens or closes a group. */
  toggle(value: string): void {
    const group = this.groups.find(one => one.value === value);
    if (group === undefined) {
      return;
    }
    group.isOpen = !group.isOpen;
    this.opened[group.isOpen ? 'add' : 'delete'](value);
    if (group.isOpen && !group.section.isLoaded) {
      void group.section.refresh();
    }
    this.changed.emit();
  }

  async refresh(): Promise<void> {
    const facets = await this.client.facets(toQuery(this.filter_));
    this.facets = facets;
    if (this.grouping_ !== 'none') {
      this.regroup(facets[this.grouping_]);
    }
    await Promise.all(this.groups.filter(group => group.isOpen).map(group => group.section.refresh()));
    this.changed.emit();
  }

  onEvent(event: RunEvent): void {
    if (event.kind === 'reset') {
      return; // the feed has everything read again
    }
    const isMoved = this.groups.map(group => group.section.take(event)).some(moved => moved);
    const isNew = event.row !== undefined && this.find(event.row.id) < 0;
    if (this.isWatched && (isMoved || isNew || event.kind === 'deleted' || this.countsDiffer(event))) {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        void this.refresh().catch(() => undefined); // the poll tells that the server does not answer
      }, SOON);
    }
  }

  private get heads(): number {
    return this.grouping_ === 'none' ? 0 : 1;
  }

  /** State counts stand on the filter's buttons; they are read again when a run has begun or ended. */
  private countsDiffer(event: RunEvent): boolean {
    const known = this.states.get(event.run_id ?? '');
    const now = event.row?.state;
    if (event.run_id !== undefined && now !== undefined) {
      this.states.set(event.run_id, now);
    }
    return known !== now;
  }

  private readonly states = new Map<string, string>();

  private regroup(values: readonly { value: string; count: number }[]): void {
    const known = new Map(this.groups.map(group => [group.value, group]));
    this.groups = values.map(({ value, count }, at) => {
      const isOpen = this.opened.has(value) || (known.size === 0 && at === 0);
      return Object.assign(known.get(value) ?? this.makeGroup(value, count, isOpen), { count });
    });
  }

  private makeGroup(value: string, count: number, isOpen: boolean): Group {
    const filter = within(this.filter_, this.grouping_, value);
    if (isOpen) {
      this.opened.add(value);
    }
    return { value, count, isOpen, section: new Section(this.client, filter, () => this.changed.emit()) };
  }
}
