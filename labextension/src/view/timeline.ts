/** The timeline: a bar for each task from its start to its end, so that what took long and what waited is seen. */

import { element } from './dom';
import { t } from './i18n';
import { stateIcon } from './icons';
import { inOrder, moveByKey, type Row } from './rows';
import { duration, lasted, note, stateWord, title } from './text';
import type { Task, TasksView } from './types';

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

export class Timeline implements TasksView {
  readonly node = element('div', { class: 'kfpm-timeline', role: 'group' });
  private readonly axis = element('div', { class: 'kfpm-axis', 'aria-hidden': 'true' });
  private readonly body = element('div', { class: 'kfpm-bars' });
  private rows = new Map<string, HTMLElement>();
  private shape = '';
  private selected = '';

  constructor(private readonly callbacks: { onSelect(taskId: string): void }) {
    this.node.setAttribute('aria-label', t('Timeline of the run'));
    this.node.append(this.axis, this.body);
    this.body.addEventListener('keydown', event => moveByKey(event, [...this.rows.values()]));
  }

  /** Draws tasks as they stand now. */
  update(tasks: readonly Task[], selected: string, now: number): void {
    this.selected = selected;
    const rows = inOrder(tasks);
    const shape = JSON.stringify(rows.map(row => row.task.id));
    if (shape !== this.shape) {
      this.shape = shape;
      this.rows = new Map(rows.map(row => [row.task.id, this.makeRow(row)]));
      this.body.replaceChildren(...this.rows.values());
    }
    const from = Math.min(now, ...tasks.map(task => task.started ?? now));
    const to = Math.max(from + 1, ...tasks.map(task => task.finished ?? (task.started === null ? from : now)));
    this.drawAxis(to - from);
    for (const { task } of rows) {
      this.refresh(task, from, to - from, now);
    }
  }

  /** Gives the keyboard to the selected task. */
  focus(): void {
    (this.rows.get(this.selected) ?? this.rows.values().next().value)?.focus();
  }

  private makeRow({ task, depth }: Row): HTMLElement {
    const name = element('span', { class: 'kfpm-row-name', style: `padding-left:${8 + depth * 14}px` });
    const track = element('span', { class: 'kfpm-track' }, element('span', { class: 'kfpm-bar' }), element('span', { class: 'kfpm-took' }));
    const row = element('button', { class: 'kfpm-task-row', type: 'button' }, name, track);
    row.addEventListener('click', () => this.callbacks.onSelect(task.id));
    return row;
  }

  private refresh(task: Task, from: number, span: number, now: number): void {
    const row = this.rows.get(task.id);
    const [name, track] = [row?.children[0], row?.children[1]];
    const [bar, took] = [track?.children[0], track?.children[1]];
    if (row === undefined || !(bar instanceof HTMLElement) || !(took instanceof HTMLElement)) {
      return;
    }
    if (row.dataset['state'] !== task.state) {
      row.dataset['state'] = task.state;
      name?.replaceChildren(stateIcon(task.state), title(task));
    }
    row.setAttribute('aria-pressed', String(task.id === this.selected));
    row.tabIndex = task.id === (this.rows.has(this.selected) ? this.selected : this.rows.keys().next().value) ? 0 : -1;
    row.setAttribute('aria-label', `${title(task)}, ${stateWord(task.state)}, ${note(task, now)}`);
    row.classList.toggle('kfpm-is-group', !['step', 'importer', 'image'].includes(task.kind));
    bar.hidden = task.started === null;
    const left = ((task.started ?? from) - from) / span;
    const right = ((task.finished ?? now) - from) / span;
    bar.style.cssText = `left:${100 * left}%;width:${Math.max(0, 100 * (right - left))}%`;
    took.textContent = task.cached ? t('reused') : lasted(task, now);
    // Beside the bar where there is room, else before it.
    took.style.cssText = right < 0.85 ? `left:calc(${100 * right}% + 6px)` : `right:calc(${100 * (1 - left)}% + 6px)`;
  }

  private drawAxis(span: number): void {
    const step = STEPS.find(one => span / one <= 8) ?? 86400 * Math.ceil(span / 86400 / 8);
    const marks: HTMLElement[] = [];
    for (let at = 0; at <= span; at += step) {
      marks.push(element('span', { style: `left:${(100 * at) / span}%` }, at === 0 ? '0' : duration(at).replace('.0', '')));
    }
    const key = marks.map(mark => mark.outerHTML).join('');
    if (this.axis.dataset['key'] !== key) {
      this.axis.dataset['key'] = key;
      this.axis.replaceChildren(element('div', {}, ...marks));
    }
  }
}
