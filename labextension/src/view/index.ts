/** The view of a run: a heading, the graph, and what is known about the selected task. */

import { Details, errorBox, valueTable } from './details';
import { element } from './dom';
import { Graph } from './graph';
import { duration, lasted, MARKS } from './text';
import { isFinal, isStep, mostTelling, type Run } from './types';

export interface Callbacks {
  /** A task was selected; its log is wanted. */
  onSelect(taskId: string): void;
}

export class RunView {
  private run: Run | undefined;
  private chosen = '';
  private readonly head = element('header', { class: 'kfpm-head' });
  private readonly news = element('div', { class: 'kfpm-news', role: 'status', 'aria-live': 'polite' });
  private readonly below = element('div', { class: 'kfpm-below' });
  private readonly graph: Graph;
  private readonly details = new Details();
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly root: HTMLElement;

  constructor(host: HTMLElement, private readonly callbacks: Callbacks) {
    this.graph = new Graph({ onSelect: id => this.select(id) });
    this.root = element(
      'div',
      { class: 'kfpm-run' },
      this.head,
      this.graph.node,
      this.details.node,
      this.below,
      this.news
    );
    this.details.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        this.graph.focus();
      }
    });
    host.append(this.root);
    this.timer = setInterval(() => this.tick(), 1000);
  }

  /** Shows a run as it stands now; what is selected stays selected. */
  update(run: Run): void {
    if (this.run?.state !== run.state) {
      this.news.textContent = `${run.name} ${run.state}`;
    }
    this.run = run;
    this.draw();
  }

  /** Shows the end of a task's log, if it is the selected one. */
  setTail(taskId: string, text: string): void {
    if (taskId === this.selected) {
      this.details.setTail(taskId, text);
    }
  }

  /** Ends the ticking and takes the view away. */
  dispose(): void {
    clearInterval(this.timer);
    this.root.remove();
  }

  private get selected(): string {
    return this.chosen !== '' || this.run === undefined ? this.chosen : (mostTelling(this.run)?.id ?? '');
  }

  private select(taskId: string): void {
    this.chosen = taskId;
    this.draw();
    this.callbacks.onSelect(taskId);
  }

  private tick(): void {
    if (this.run !== undefined && !isFinal(this.run.state)) {
      this.draw();
    }
  }

  private draw(): void {
    const run = this.run;
    if (run === undefined) {
      return;
    }
    const now = Date.now() / 1000;
    this.root.dataset['state'] = run.state;
    this.head.replaceChildren(...heading(run, now));
    this.graph.update(run.tasks, this.selected, now);
    this.details.update(
      run.tasks.find(task => task.id === this.selected),
      now
    );
    const key = JSON.stringify([run.parameters, run.outputs]);
    if (this.below.dataset['key'] !== key) {
      this.below.dataset['key'] = key;
      this.below.replaceChildren(...valueTable('Parameters', run.parameters), ...valueTable('Results', run.outputs));
    }
  }
}

function heading(run: Run, now: number): Node[] {
  const steps = run.tasks.filter(isStep);
  const done = steps.filter(task => isFinal(task.state)).length;
  const took = run.started === null ? '' : ` · ${lasted(run, now) || duration(0)}`;
  const bar = element('progress', { max: String(Math.max(1, steps.length)), value: String(done) });
  bar.setAttribute('aria-label', `${done} of ${steps.length} steps`);
  return [
    element(
      'div',
      { class: 'kfpm-title' },
      element('span', { class: 'kfpm-state', 'data-state': run.state }, MARKS[run.state]),
      element('strong', {}, run.name),
      element('span', { class: 'kfpm-quiet' }, `${run.state}${took} · ${done} of ${steps.length} steps`)
    ),
    bar,
    ...(run.error !== null ? [errorBox(run.error)] : [])
  ];
}
