/** The view of a run: a heading, its tasks, and what is known about the selected one. */

import { errorBox, valueTable } from './blocks';
import { Details } from './details';
import { element } from './dom';
import { stateIcon } from './icons';
import { t } from './i18n';
import { TaskViews } from './tasks';
import { asOf, lasted, staleSince, stateWord, stepsDone, trigger, visible } from './text';
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
  private readonly tasks: TaskViews;
  private readonly details = new Details();
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly root: HTMLElement;

  constructor(host: HTMLElement, private readonly callbacks: Callbacks) {
    this.tasks = new TaskViews({ onSelect: id => this.select(id) });
    const { list, body } = this.tasks.tabs;
    const parts = [this.head, list, body, this.details.node, this.below, this.news];
    this.root = element('div', { class: 'kfpm-run' }, ...parts);
    this.details.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        this.tasks.focus();
      }
    });
    host.append(this.root);
    this.timer = setInterval(() => this.tick(), 1000);
  }

  /** Shows a run as it stands now; what is selected stays selected. */
  update(run: Run): void {
    if (this.run?.state !== run.state) {
      this.news.textContent = `${visible(run.name)} ${stateWord(run.state)}`;
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
    const now = asOf(run, Date.now() / 1000);
    this.root.dataset['state'] = run.state;
    this.root.toggleAttribute('data-stale', staleSince(run) !== '');
    this.head.replaceChildren(...heading(run, now));
    this.tasks.update(run.tasks, this.selected, now);
    this.details.update(
      run.tasks.find(task => task.id === this.selected),
      now
    );
    const key = JSON.stringify([run.parameters, run.outputs]);
    if (this.below.dataset['key'] !== key) {
      this.below.dataset['key'] = key;
      this.below.replaceChildren(...valueTable(t('Parameters'), run.parameters), ...valueTable(t('Results'), run.outputs));
    }
  }
}

function heading(run: Run, now: number): Node[] {
  const steps = run.tasks.filter(isStep);
  const done = steps.filter(task => isFinal(task.state)).length;
  const progress = stepsDone(done, steps.length, run.kind);
  const stale = staleSince(run);
  const data = trigger(run);
  const started = data === '' ? '' : t('started by %1', data);
  const facts = [stateWord(run.state), lasted(run, now), progress, started, stale].filter(one => one !== '').join(' · ');
  const bar = element('progress', { max: String(Math.max(1, steps.length)), value: String(done), 'aria-label': progress });
  return [
    element(
      'div',
      { class: 'kfpm-title' },
      stateIcon(run.state),
      element('strong', {}, visible(run.name)),
      element('span', { class: 'kfpm-quiet' }, facts)
    ),
    bar,
    ...(run.error !== null ? [errorBox(run.error)] : [])
  ];
}
