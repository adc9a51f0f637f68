/** The side panel: filters, the list of runs, what can be done with those that are selected. */

import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { ApiError } from '../api/client';
import type { RunRow } from '../api/types';
import { EVERYTHING, type Filter, type Grouping } from '../model/filter';
import { RunList } from '../model/runs';
import { Commands, type IPipelines } from '../tokens';
import { element } from '../view/dom';
import { t, tn } from '../view/i18n';
import { isFinal } from '../view/types';
import { Filters } from './filters';
import { ListView } from './list';

export class RunsPanel extends Widget {
  private readonly model: RunList;
  private readonly filters: Filters;
  private readonly list: ListView;
  private readonly notice = element('div', { class: 'kfpm-notice', role: 'status' });
  private readonly foot = element('div', { class: 'kfpm-foot' });
  private readonly listening;
  private timer: ReturnType<typeof setInterval> | undefined;
  private trouble: ApiError | undefined;

  constructor(
    private readonly pipelines: IPipelines,
    private readonly commands: CommandRegistry
  ) {
    super();
    this.addClass('kfpm-panel');
    this.model = new RunList(pipelines.client);
    this.filters = new Filters(this.model, (filter, grouping) => this.showRuns(filter, grouping));
    this.list = new ListView(this.model, {
      onOpen: row => void this.commands.execute(Commands.openRun, { id: row.id }),
      onSelect: selected => this.drawFoot(selected)
    });
    const title = element('div', { class: 'kfpm-panel-title' }, element('h2', {}, t('Pipeline runs')));
    this.node.append(title, this.filters.node, this.notice, this.list.lines.node, this.foot);
    this.model.changed.connect(this.update, this);
    pipelines.settings.changed.connect(this.update, this);
    pipelines.feed.reached.connect((_, isReached) => {
      this.trouble = isReached ? undefined : (this.trouble ?? new ApiError(t('The Jupyter server does not answer.'), '', 0));
      this.update();
    });
    this.listening = pipelines.feed.listen(this.model);
  }

  /** The runs that are selected, to compare them. */
  get selected(): readonly string[] {
    return this.selectedIds;
  }

  private selectedIds: readonly string[] = [];

  override dispose(): void {
    this.listening.dispose();
    this.list.lines.dispose();
    clearInterval(this.timer);
    super.dispose();
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this.list.lines.node.focus();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.model.isWatched = true;
    this.timer ??= setInterval(() => this.tick(), 1000);
    this.refresh();
    this.update();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.model.isWatched = false;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this.onAfterShow(message);
    }
  }

  protected override onResize(message: Widget.ResizeMessage): void {
    super.onResize(message);
    this.update();
  }

  protected override onUpdateRequest(message: Message): void {
    super.onUpdateRequest(message);
    if (!this.isVisible) {
      return;
    }
    this.list.density = this.pipelines.settings.values.density;
    this.node.dataset['density'] = this.list.density;
    this.filters.update();
    this.list.update();
    this.drawNotice();
  }

  private showRuns(filter: Filter, grouping: Grouping): void {
    this.list.lines.node.scrollTop = 0;
    this.follow(this.model.show(filter, grouping));
  }

  private refresh(): void {
    this.follow(this.model.refresh());
  }

  private follow(work: Promise<void>): void {
    work
      .then(() => (this.trouble = undefined))
      .catch((error: unknown) => {
        if (!(error instanceof ApiError)) {
          throw error;
        }
        this.trouble = error;
      })
      .finally(() => this.update());
  }

  /** Only what runs shows a time that moves. */
  private tick(): void {
    if (!document.hidden) {
      this.list.update();
    }
  }

  private drawNotice(): void {
    const parts: (Node | string)[] = [];
    const isEmpty = this.model.isLoaded && this.model.length === 0;
    if (this.trouble !== undefined) {
      const again = element('button', { type: 'button', class: 'kfpm-button' }, t('Try again'));
      again.addEventListener('click', () => this.refresh());
      parts.push(element('strong', {}, this.trouble.message), element('div', {}, this.trouble.hint), again);
    } else if (isEmpty && this.isFiltered) {
      const clear = element('button', { type: 'button', class: 'kfpm-button' }, t('Show all runs'));
      clear.addEventListener('click', () => this.showRuns(EVERYTHING, this.model.grouping));
      parts.push(element('strong', {}, t('No run is like that.')), clear);
    } else if (isEmpty) {
      parts.push(
        element('strong', {}, t('No runs yet.')),
        element('div', {}, t('In a notebook, a pipeline is started with')),
        element('code', {}, '%kfp_run PIPELINE')
      );
    }
    const key = parts.map(part => (typeof part === 'string' ? part : part.textContent)).join('\n');
    if (this.notice.dataset['key'] !== key) {
      this.notice.dataset['key'] = key;
      this.notice.replaceChildren(...parts);
      this.notice.classList.toggle('kfpm-trouble', this.trouble !== undefined);
    }
  }

  private get isFiltered(): boolean {
    const { search, states, facets, archived } = this.model.filter;
    return search !== '' || states.length > 0 || archived || Object.keys(facets).length > 0;
  }

  private drawFoot(selected: ReadonlyMap<string, RunRow>): void {
    // The oldest first, so that changes read forward in time.
    this.selectedIds = [...selected.values()].sort((a, b) => a.created - b.created).map(row => row.id);
    const count = selected.size;
    const button = (label: string, act: () => void): HTMLButtonElement => {
      const made = element('button', { type: 'button', class: 'kfpm-button' }, label);
      made.addEventListener('click', act);
      return made;
    };
    const compare = button(t('Compare'), () => void this.commands.execute(Commands.compare, { ids: [...this.selectedIds] }));
    compare.disabled = count < 2;
    const ended = [...selected.values()].filter(row => isFinal(row.state)).map(row => row.id);
    const archive = button(t('Archive'), () => {
      void this.commands.execute(Commands.archive, { ids: ended }).then(() => this.list.clear());
    });
    archive.disabled = ended.length === 0;
    const clear = button('✕', () => this.list.clear());
    clear.setAttribute('aria-label', t('Select nothing'));
    const parts = [element('span', {}, tn('%1 selected', '%1 selected', count)), compare, archive, clear];
    this.foot.replaceChildren(...(count === 0 ? [] : parts));
  }
}
