/** The badges of one notebook: read when it opens and when a run of it changes, drawn anew when its code does. */

import type { CommandRegistry } from '@lumino/commands';
import type { IDisposable } from '@lumino/disposable';
import type { NotebookPanel } from '@jupyterlab/notebook';

import type { Badge, RunEvent } from '../api/types';
import type { Listener } from '../model/feed';
import { Commands, type IPipelines } from '../tokens';
import { isFinal } from '../view/types';
import { makeBadge } from './badge';
import { usesMagics } from './author';

const SOON = 400; // milliseconds

export class NotebookBadges implements Listener, IDisposable {
  isDisposed = false;
  private badges: Badge[] = [];
  private readonly drawn = new Map<string, { key: string; node: HTMLElement }>();
  private readonly listening: IDisposable;
  private timers = new Map<'read' | 'draw', ReturnType<typeof setTimeout>>();
  private usedMagics = false;

  constructor(
    private readonly panel: NotebookPanel,
    private readonly pipelines: IPipelines,
    private readonly commands: CommandRegistry
  ) {
    this.listening = pipelines.feed.listen(this);
    panel.content.modelContentChanged.connect(this.onContent, this);
    pipelines.settings.changed.connect(this.draw, this);
    panel.disposed.connect(this.dispose, this);
    void panel.context.ready.then(() => this.onContent());
    this.soon('read');
  }

  /** Asked again and again only while a step runs: news of others come by themselves. */
  get isWatched(): boolean {
    const states = this.badges.flatMap(({ run, image }) => [run?.state, image?.state]);
    return this.isShown && states.some(state => state !== undefined && !isFinal(state));
  }

  private get isShown(): boolean {
    return this.panel.isVisible && this.usedMagics && this.pipelines.settings.values.badges;
  }

  onEvent(event: RunEvent): void {
    const path = event.row?.notebook_path ?? '';
    if (event.kind !== 'changed' || path === '' || path === this.panel.context.path) {
      this.soon('read');
    }
  }

  async refresh(): Promise<void> {
    const { cells } = await this.pipelines.client.badges(this.panel.context.path);
    this.badges = cells;
    this.draw();
  }

  dispose(): void {
    if (!this.isDisposed) {
      this.isDisposed = true;
      this.listening.dispose();
      this.pipelines.settings.changed.disconnect(this.draw, this);
      this.timers.forEach(timer => clearTimeout(timer));
    }
  }

  private onContent(): void {
    this.soon('draw');
  }

  private soon(what: 'read' | 'draw'): void {
    if (this.timers.has(what)) {
      return;
    }
    const timer = setTimeout(() => {
      this.timers.delete(what);
      this.look();
      if (what === 'draw') {
        this.draw();
      } else if (this.isShown) {
        void this.refresh().catch(() => undefined); // the next look tells
      }
    }, SOON);
    this.timers.set(what, timer);
  }

  /** Sees whether the notebook uses the magics; its buttons follow. */
  private look(): void {
    const uses = !this.isDisposed && this.panel.model !== null && usesMagics(this.panel);
    if (uses !== this.usedMagics) {
      this.usedMagics = uses;
      this.commands.notifyCommandChanged(Commands.runPipeline);
      this.commands.notifyCommandChanged(Commands.build);
      this.soon('read');
    }
  }

  private draw(): void {
    if (this.isDisposed) {
      return;
    }
    const byCell = new Map(this.pipelines.settings.values.badges ? this.badges.map(badge => [badge.cell_id, badge]) : []);
    for (const cell of this.panel.content.widgets) {
      const { id, sharedModel } = cell.model;
      const badge = byCell.get(id);
      const source = badge === undefined ? '' : sharedModel.getSource();
      const key = JSON.stringify([badge, source]);
      const before = this.drawn.get(id);
      if (before?.key === key && before.node.isConnected) {
        continue;
      }
      before?.node.remove();
      this.drawn.delete(id);
      if (badge !== undefined) {
        const node = makeBadge(badge, source, () => this.open(badge));
        cell.inputArea?.node.append(node);
        this.drawn.set(id, { key, node });
      }
    }
  }

  private open({ run, image }: Badge): void {
    const args = run !== null ? { id: run.run_id, task: run.task_id } : { id: image?.run_id ?? '' };
    void this.commands.execute(Commands.openRun, args);
  }
}
