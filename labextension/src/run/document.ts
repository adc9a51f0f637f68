/** A run in the main area. What it is drawn with is heavy and loaded when the first one is opened. */

import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { ApiError } from '../api/client';
import { RunModel } from '../model/run';
import type { IPipelines } from '../tokens';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import type { RunPage } from './page';

export class RunDocument extends Widget {
  readonly model: RunModel;
  private page: RunPage | undefined;
  private readonly notice = element('div', { class: 'kfpm-notice', role: 'status' });
  private readonly listening;

  constructor(
    private readonly pipelines: IPipelines,
    private readonly commands: CommandRegistry,
    private readonly rendermime: IRenderMimeRegistry,
    readonly runId: string
  ) {
    super();
    this.addClass('kfpm-document');
    this.node.append(this.notice);
    this.model = new RunModel(pipelines.client, runId);
    this.model.changed.connect(this.update, this);
    this.listening = pipelines.feed.listen(this.model);
    pipelines.feed.reached.connect(this.onReached, this);
    void this.load();
  }

  /** Shows a task of the run. */
  select(taskId: string): void {
    this.wanted = taskId;
    this.page?.select(taskId);
  }

  private wanted: string | undefined;

  override dispose(): void {
    this.listening.dispose();
    this.pipelines.feed.reached.disconnect(this.onReached, this);
    this.page?.dispose();
    super.dispose();
  }

  protected override onUpdateRequest(message: Message): void {
    super.onUpdateRequest(message);
    if (this.model.isGone) {
      this.say(t('This run was deleted.'));
    }
    if (this.isVisible) {
      this.page?.update();
    }
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.model.isWatched = true;
    this.read();
    this.update();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.model.isWatched = false;
  }

  protected override onResize(message: Widget.ResizeMessage): void {
    super.onResize(message);
    this.page?.resize(message.width > 0 ? message.width : this.node.clientWidth);
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this.page?.focus();
  }

  private async load(): Promise<void> {
    this.read();
    const { RunPage: Page } = await import('./page');
    if (this.isDisposed) {
      return;
    }
    const { client } = this.pipelines;
    this.page = new Page(this.model, { client, rendermime: this.rendermime, runId: this.runId }, this.commands);
    this.node.append(this.page.node);
    this.page.resize(this.node.clientWidth);
    if (this.wanted !== undefined) {
      this.page.select(this.wanted);
    }
    this.update();
  }

  private read(): void {
    this.model
      .refresh()
      .then(() => this.say(''))
      .catch((error: unknown) => {
        if (!(error instanceof ApiError)) {
          throw error;
        }
        this.say([error.message, error.hint].filter(Boolean).join(' '));
      });
  }

  private onReached(_: unknown, isReached: boolean): void {
    this.say(isReached ? '' : t('The Jupyter server does not answer. What stands here may be old.'));
  }

  private say(text: string): void {
    if (this.notice.textContent !== text) {
      this.notice.textContent = text;
      this.notice.classList.toggle('kfpm-trouble', text !== '');
    }
  }
}
