/** The table: the same tasks to sort by what they took, when they began, how they stand. */

import { element } from './dom';
import { t } from './i18n';
import { stateIcon } from './icons';
import { inOrder, moveByKey, type Row } from './rows';
import { lasted, stateWord, title, visible } from './text';
import type { State, Task, TasksView } from './types';

type Column = 'name' | 'state' | 'started' | 'took' | 'attempt' | 'reason';

const URGENT: readonly State[] = ['failed', 'running', 'pending', 'unknown', 'cancelled', 'skipped', 'succeeded'];

export class Table implements TasksView {
  readonly node = element('div', { class: 'kfpm-table' });
  private readonly body = element('tbody');
  private readonly heads = new Map<Column, HTMLElement>();
  private rows = new Map<string, HTMLElement>();
  private order: { by: Column | undefined; falling: boolean } = { by: undefined, falling: false };
  private shape = '';
  private drawn = new Map<string, string>();
  private last: [readonly Task[], string, number] = [[], '', 0];

  constructor(private readonly callbacks: { onSelect(taskId: string): void }) {
    const columns: [Column, string][] = [
      ['name', t('Step')],
      ['state', t('State')],
      ['started', t('Started')],
      ['took', t('Took')],
      ['attempt', t('Attempt')],
      ['reason', t('Why')]
    ];
    const heads = columns.map(([column, text]) => {
      const button = element('button', { type: 'button' }, text);
      const head = element('th', { scope: 'col', 'data-column': column }, button);
      button.addEventListener('click', () => this.sortBy(column));
      this.heads.set(column, head);
      return head;
    });
    this.node.append(
      element('table', { 'aria-label': t('Steps of the run') }, element('thead', {}, element('tr', {}, ...heads)), this.body)
    );
    this.body.addEventListener('keydown', event => moveByKey(event, [...this.rows.values()].map(handle)));
  }

  /** Shows tasks as they stand now. */
  update(tasks: readonly Task[], selected: string, now: number): void {
    this.last = [tasks, selected, now];
    const rows = this.sorted(inOrder(tasks), now);
    const shape = JSON.stringify(rows.map(row => row.task.id));
    if (shape !== this.shape) {
      this.shape = shape;
      this.drawn.clear();
      this.rows = new Map(rows.map(row => [row.task.id, this.makeRow(row)]));
      this.body.replaceChildren(...this.rows.values());
    }
    const reachable = this.rows.has(selected) ? selected : this.rows.keys().next().value;
    for (const { task } of rows) {
      this.refresh(task, task.id === selected, task.id === reachable, now);
    }
  }

  /** Gives the keyboard to the selected task. */
  focus(): void {
    const row = this.rows.get(this.last[1]) ?? this.rows.values().next().value;
    if (row !== undefined) {
      handle(row).focus();
    }
  }

  private sortBy(column: Column): void {
    const isAgain = this.order.by === column;
    // The third press gives the order of the pipeline back.
    this.order = isAgain && this.order.falling ? { by: undefined, falling: false } : { by: column, falling: isAgain };
    for (const [name, head] of this.heads) {
      const direction = this.order.falling ? 'descending' : 'ascending';
      head.setAttribute('aria-sort', name === this.order.by ? direction : 'none');
    }
    this.update(...this.last);
  }

  private sorted(rows: Row[], now: number): Row[] {
    const { by, falling } = this.order;
    if (by === undefined) {
      return rows;
    }
    const keys = new Map(rows.map(row => [row, sortKey(row.task, by, now)]));
    const flat = rows.map(row => ({ ...row, depth: 0, from: row }));
    flat.sort((a, b) => compare(keys.get(a.from) ?? 0, keys.get(b.from) ?? 0) * (falling ? -1 : 1));
    return flat;
  }

  private makeRow({ task, depth }: Row): HTMLElement {
    const button = element('button', { type: 'button', style: `margin-left:${depth * 14}px`, title: visible(task.id) });
    const row = element('tr', {}, element('th', { scope: 'row' }, button), ...[1, 2, 3, 4, 5].map(() => element('td')));
    row.addEventListener('click', () => this.callbacks.onSelect(task.id));
    return row;
  }

  private refresh(task: Task, isSelected: boolean, isReachable: boolean, now: number): void {
    const row = this.rows.get(task.id);
    if (row === undefined) {
      return;
    }
    const button = handle(row);
    button.tabIndex = isReachable ? 0 : -1;
    button.setAttribute('aria-pressed', String(isSelected));
    row.classList.toggle('kfpm-selected', isSelected);
    const took = task.cached ? t('reused') : lasted(task, now);
    const started = task.started === null ? '' : new Date(task.started * 1000).toLocaleTimeString();
    const attempt = task.attempt > 1 ? String(task.attempt) : '';
    const texts = [stateWord(task.state), started, took, attempt, visible(task.error?.message ?? task.reason).slice(0, 300)];
    const key = texts.join('\n');
    if (this.drawn.get(task.id) === key) {
      return;
    }
    this.drawn.set(task.id, key);
    row.dataset['state'] = task.state;
    button.replaceChildren(stateIcon(task.state), title(task));
    texts.forEach((text, at) => row.children[at + 1]?.replaceChildren(text));
  }
}

function handle(row: HTMLElement): HTMLElement {
  return row.querySelector('button') ?? row;
}

function sortKey(task: Task, by: Column, now: number): string | number {
  switch (by) {
    case 'name':
      return task.name.toLowerCase();
    case 'state':
      return URGENT.indexOf(task.state);
    case 'started':
      return task.started ?? Infinity;
    case 'took':
      return task.started === null ? -1 : (task.finished ?? now) - task.started;
    case 'attempt':
      return task.attempt;
    case 'reason':
      return task.error?.message ?? task.reason;
  }
}

function compare(a: string | number, b: string | number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
