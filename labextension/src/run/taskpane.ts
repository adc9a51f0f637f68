/** The selected task: overview, artifacts, log, the code that ran. */

import type { CommandRegistry } from '@lumino/commands';

import { ApiError } from '../api/client';
import type { CellSource } from '../api/types';
import type { RunModel } from '../model/run';
import { Commands } from '../tokens';
import { errorBox, longFacts, shortFacts, stateMark, valueTable } from '../view/blocks';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { Tabs } from '../view/tabs';
import { visible } from '../view/text';
import { isStep, type Failure, type Task } from '../view/types';
import { artifactCards, type ArtifactContext } from './artifacts';
import { LogView } from './log';

export class TaskPane {
  readonly node = element('section', { class: 'kfpm-pane', 'aria-label': t('Selected step') });
  private readonly title = element('header');
  private readonly overview = element('div', { class: 'kfpm-tab-page', tabindex: '0' });
  private readonly artifacts = element('div', { class: 'kfpm-tab-page', tabindex: '0' });
  private readonly logs = element('div', { class: 'kfpm-tab-page kfpm-log-page' });
  private readonly code = element('div', { class: 'kfpm-tab-page', tabindex: '0' });
  private readonly tabs: Tabs;
  private log: LogView | undefined;
  private task: Task | undefined;
  private logOf = '';
  private drawn = '';
  private drawnArtifacts = '';
  private codeOf = '';

  constructor(
    private readonly model: RunModel,
    private readonly context: ArtifactContext,
    private readonly commands: CommandRegistry,
    private readonly onLeave: () => void
  ) {
    this.tabs = new Tabs(
      t('Details of the step'),
      [
        { id: 'overview', label: t('Overview'), node: this.overview },
        { id: 'artifacts', label: t('Artifacts'), node: this.artifacts },
        { id: 'log', label: t('Log'), node: this.logs },
        { id: 'code', label: t('Code'), node: this.code }
      ],
      () => this.drawTab()
    );
    this.node.append(this.title, this.tabs.list, this.tabs.body);
  }

  /** Shows a task as it stands now. */
  update(task: Task, now: number): void {
    this.task = task;
    const isImage = task.kind === 'image';
    const back = element('button', { type: 'button', class: 'kfpm-link' }, isImage ? t('Image build') : t('Run'));
    back.addEventListener('click', this.onLeave);
    const key = JSON.stringify([task.id, task.state, shortFacts(task, now)]);
    if (key !== this.title.dataset['key']) {
      this.title.dataset['key'] = key;
      const crumbs = [back, element('span', { class: 'kfpm-quiet', 'aria-hidden': 'true' }, ' › '), element('h3', {}, visible(task.id))];
      const facts = element('div', { class: 'kfpm-quiet' }, shortFacts(task, now));
      this.title.replaceChildren(element('div', { class: 'kfpm-crumbs' }, ...crumbs, stateMark(task.state)), facts);
    }
    const count = task.artifacts.length;
    // An image has no artifacts, and its code is that of its cell.
    this.tabs.offer(id => !isImage || id === 'overview' || id === 'log');
    this.tabs.label('artifacts', count === 0 ? t('Artifacts') : t('Artifacts (%1)', count));
    this.drawTab();
  }

  /** Shows a tab. */
  show(tab: 'overview' | 'artifacts' | 'log' | 'code'): void {
    this.tabs.show(tab);
  }

  resize(): void {
    this.log?.resize();
  }

  dispose(): void {
    this.log?.dispose();
  }

  private drawTab(): void {
    const task = this.task;
    if (task === undefined) {
      return;
    }
    switch (this.tabs.current) {
      case 'overview':
        return this.drawOverview(task);
      case 'artifacts':
        return this.drawArtifacts(task);
      case 'log':
        return this.drawLog(task);
      case 'code':
        return void this.drawCode(task);
    }
  }

  private drawOverview(task: Task): void {
    const key = JSON.stringify(task);
    if (key === this.drawn) {
      return;
    }
    this.drawn = key;
    const box = task.error === null ? [] : [errorBox(task.error, ...this.cellButton(task, task.error), this.logButton())];
    this.overview.replaceChildren(
      ...box,
      ...valueTable(t('Inputs'), task.inputs),
      ...valueTable(t('Outputs'), task.outputs),
      ...longFacts(task),
      ...(task.error === null ? this.cellButton(task, null) : [])
    );
  }

  private cellButton(task: Task, error: Failure | null): HTMLElement[] {
    const cellId = (error?.cell_id ?? '') || task.cell_id;
    if (cellId === '') {
      return [];
    }
    const button = element('button', { type: 'button', class: 'kfpm-button' }, t('Show cell'));
    button.addEventListener('click', () => {
      const notebook = (this.model.run?.notebook_path ?? '') || (this.model.run?.notebook ?? '');
      const what = { notebook, cellId, line: error?.line ?? 0, message: error?.message ?? '' };
      void this.commands.execute(Commands.showCell, what);
    });
    return [button];
  }

  private logButton(): HTMLElement {
    const button = element('button', { type: 'button', class: 'kfpm-button' }, t('Show log'));
    button.addEventListener('click', () => this.show('log'));
    return button;
  }

  private drawArtifacts(task: Task): void {
    const key = JSON.stringify([task.id, task.artifacts]);
    if (key !== this.drawnArtifacts) {
      this.drawnArtifacts = key;
      const cards = artifactCards(task, this.context);
      const none = element('div', { class: 'kfpm-quiet' }, t('No artifacts.'));
      this.artifacts.replaceChildren(...(cards.length > 0 ? cards : [none]));
    }
  }

  private drawLog(task: Task): void {
    // A new attempt begins a new log.
    const key = JSON.stringify([task.id, task.attempt, task.started === null]);
    if (key === this.logOf) {
      return this.log?.resize();
    }
    this.logOf = key;
    this.log?.dispose();
    this.log = undefined;
    if (this.model.run?.logs === false) {
      this.logs.replaceChildren(element('div', { class: 'kfpm-quiet' }, t('Logs of this backend cannot be read from here.')));
    } else if (!isStep(task)) {
      this.logs.replaceChildren(element('div', { class: 'kfpm-quiet' }, t('A group prints nothing itself: select a step in it.')));
    } else {
      this.log = new LogView(this.context.client, { runId: this.model.id, task: task.id });
      this.logs.replaceChildren(this.log.node);
      this.log.resize();
    }
  }

  /** The cell of a step as it was; none when the run's backend does not know. */
  private async source(task: Task): Promise<CellSource | undefined> {
    try {
      return (await this.context.client.pipeline(this.model.id)).sources[task.component];
    } catch (error) {
      if (error instanceof ApiError) {
        return undefined;
      }
      throw error;
    }
  }

  private async drawCode(task: Task): Promise<void> {
    if (this.codeOf === task.id) {
      return;
    }
    this.codeOf = task.id;
    this.code.replaceChildren();
    const cell = await this.source(task);
    if (this.codeOf !== task.id) {
      return;
    }
    if (cell === undefined || cell.source === '') {
      this.code.replaceChildren(element('div', { class: 'kfpm-quiet' }, t('The code of this step is not remembered.')));
      return;
    }
    const failed = task.error?.line ?? 0;
    const lines = cell.source.split('\n').map((line, at) => {
      const shown = element('span', { class: at + 1 === failed ? 'kfpm-code-line kfpm-failed' : 'kfpm-code-line' }, visible(line));
      shown.dataset['line'] = String(at + 1);
      return shown;
    });
    this.code.replaceChildren(element('pre', { class: 'kfpm-code' }, ...lines), ...this.cellButton(task, task.error));
    this.code.querySelector('.kfpm-failed')?.scrollIntoView({ block: 'center' });
  }
}
