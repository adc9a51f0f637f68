/** An open run: heading and actions, its tasks, and the run or the selected task beside them. Loaded when a run is opened. */

import type { CommandRegistry } from '@lumino/commands';
import { copyIcon, deleteIcon, launchIcon, refreshIcon, runIcon, stopIcon, type LabIcon } from '@jupyterlab/ui-components';

import type { RunModel } from '../model/run';
import { Commands } from '../tokens';
import { errorBox } from '../view/blocks';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { stateIcon } from '../view/icons';
import { TaskViews } from '../view/tasks';
import { ago, asOf, isPage, lasted, staleSince, starter, stateWord, stepsDone, trigger, visible } from '../view/text';
import { canRetry, isFinal, isStep, mostTelling, type Run } from '../view/types';
import type { ArtifactContext } from './artifacts';
import { RunPane } from './runpane';
import { Split } from './split';
import { TaskPane } from './taskpane';

export class RunPage {
  readonly node = element('div', { class: 'kfpm-page kfpm-run' });
  private readonly head = element('div', { class: 'kfpm-page-head' });
  private readonly actions = element('div', { class: 'kfpm-page-actions', role: 'toolbar', 'aria-label': t('Actions on the run') });
  private readonly progress = element('progress', { class: 'kfpm-page-progress' });
  private readonly trouble = element('div', { class: 'kfpm-page-trouble' });
  private readonly news = element('div', { class: 'kfpm-news', role: 'status', 'aria-live': 'polite' });
  private readonly tasks: TaskViews;
  private readonly side = element('div', { class: 'kfpm-side' });
  private readonly runPane: RunPane;
  private readonly taskPane: TaskPane;
  private readonly split: Split;
  private readonly timer: ReturnType<typeof setInterval>;
  /** What the user selected: a task, the run itself (empty), or nothing yet. */
  private chosen: string | undefined;
  private said = '';
  private drawnActions = '';

  constructor(
    private readonly model: RunModel,
    context: ArtifactContext,
    private readonly commands: CommandRegistry
  ) {
    this.tasks = new TaskViews({ onSelect: id => this.select(id) });
    this.runPane = new RunPane(id => this.select(id));
    this.taskPane = new TaskPane(model, context, commands, () => this.select(''));
    const main = element('div', { class: 'kfpm-main' }, this.tasks.tabs.list, this.tasks.tabs.body);
    this.split = new Split(main, this.side);
    const top = element('header', { class: 'kfpm-page-top' }, this.head, this.actions);
    this.node.append(top, this.progress, this.trouble, this.split.node, this.news);
    this.timer = setInterval(() => this.tick(), 1000);
    this.side.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        this.tasks.focus();
      }
    });
  }

  /** Draws what the model has. */
  update(): void {
    const run = this.model.run;
    if (run === undefined) {
      return;
    }
    const now = this.model.now;
    const known = asOf(run, now);
    this.node.dataset['state'] = run.state;
    this.node.toggleAttribute('data-stale', staleSince(run) !== '');
    this.drawHead(run, now);
    this.drawActions(run);
    this.drawTrouble(run);
    const selected = this.selected(run);
    this.tasks.update(run.tasks, selected, known);
    const task = run.tasks.find(one => one.id === selected);
    const pane = task === undefined ? this.runPane : this.taskPane;
    if (this.side.firstChild !== pane.node) {
      this.side.replaceChildren(pane.node);
    }
    if (task === undefined) {
      this.runPane.update(run);
    } else {
      this.taskPane.update(task, known);
    }
    const says = `${visible(run.name)} ${stateWord(run.state)}`;
    if (says !== this.said) {
      this.said = says;
      this.news.textContent = says;
    }
  }

  /** Selects a task, or the run with an empty id. */
  select(taskId: string): void {
    this.chosen = taskId;
    this.update();
  }

  resize(width: number): void {
    this.split.resize(width);
    this.taskPane.resize();
  }

  /** Gives the keyboard to the tasks. */
  focus(): void {
    this.tasks.focus();
  }

  dispose(): void {
    clearInterval(this.timer);
    this.taskPane.dispose();
  }

  /** Before anything was selected: what has failed or runs, and else the run as a whole. */
  private selected(run: Run): string {
    if (this.chosen !== undefined) {
      return this.chosen;
    }
    return run.state === 'failed' || run.state === 'running' ? (mostTelling(run)?.id ?? '') : '';
  }

  private tick(): void {
    const run = this.model.run;
    if (run !== undefined && !isFinal(run.state) && this.node.offsetParent !== null) {
      this.update();
    }
  }

  private drawHead(run: Run, now: number): void {
    const steps = run.tasks.filter(isStep);
    const done = steps.filter(task => isFinal(task.state)).length;
    const facts = [
      stateWord(run.state),
      lasted(run, asOf(run, now)),
      stepsDone(done, steps.length, run.kind),
      run.pipeline === run.name ? '' : visible(run.pipeline.slice(0, 200)),
      trigger(run) === '' ? starter(run) : t('started by %1', trigger(run)),
      ago(run.created, now),
      staleSince(run)
    ];
    const name = element('h2', { title: visible(run.name.slice(0, 1000)) }, visible(run.name.slice(0, 300)));
    const text = facts.filter(Boolean).join(' · ');
    if (this.head.dataset['key'] !== text + run.name) {
      this.head.dataset['key'] = text + run.name;
      this.head.replaceChildren(stateIcon(run.state), element('div', {}, name, element('div', { class: 'kfpm-quiet' }, text)));
    }
    this.progress.max = Math.max(1, steps.length);
    this.progress.value = done;
    this.progress.setAttribute('aria-label', stepsDone(done, steps.length, run.kind));
  }

  private drawActions(run: Run): void {
    const key = `${run.state} ${run.url}`;
    if (key === this.drawnActions) {
      return;
    }
    this.drawnActions = key;
    const ended = isFinal(run.state);
    this.actions.replaceChildren(
      ...(ended ? [] : [this.action(Commands.cancel, stopIcon, t('Cancel'))]),
      ...(canRetry(run) ? [this.action(Commands.retry, refreshIcon, t('Retry'), 'kfpm-primary')] : []),
      ...(run.kind === 'build' ? [] : [this.action(Commands.runAgain, runIcon, t('Run again…'))]),
      ...(!isPage(run.url) ? [] : [this.action(Commands.openUrl, launchIcon, t('Open in KFP'))]),
      this.action(Commands.copyId, copyIcon, t('Copy id'), 'kfpm-icon-only'),
      ...(ended ? [this.action(Commands.delete, deleteIcon, t('Delete'), 'kfpm-icon-only')] : [])
    );
  }

  /** What ended the run stands here when no step tells it. */
  private drawTrouble(run: Run): void {
    const error = run.tasks.some(task => task.error !== null) ? null : run.error;
    const key = JSON.stringify(error);
    if (this.trouble.dataset['key'] !== key) {
      this.trouble.dataset['key'] = key;
      this.trouble.replaceChildren(...(error === null ? [] : [errorBox(error)]));
    }
  }

  private action(command: string, icon: LabIcon, label: string, extra = ''): HTMLElement {
    const button = element('button', { type: 'button', class: `kfpm-button ${extra}`, title: label, 'aria-label': label });
    button.append(icon.element({ tag: 'span', width: '14px', height: '14px' }), element('span', { class: 'kfpm-label' }, label));
    button.addEventListener('click', () => void this.commands.execute(command, { id: this.model.id }));
    return button;
  }
}
