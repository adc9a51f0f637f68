/** The tasks of a run in one of three ways: graph, timeline, table. */

import { Graph } from './graph';
import { t } from './i18n';
import { Table } from './table';
import { Tabs } from './tabs';
import { Timeline } from './timeline';
import type { Task, TasksView } from './types';

export class TaskViews {
  readonly tabs: Tabs;
  private readonly views: { [id: string]: TasksView };
  private last: [readonly Task[], string, number] | undefined;

  constructor(callbacks: { onSelect(taskId: string): void }) {
    const graph = new Graph(callbacks);
    const timeline = new Timeline(callbacks);
    const table = new Table(callbacks);
    this.views = { graph, timeline, table };
    this.tabs = new Tabs(
      t('Steps as'),
      [
        { id: 'graph', label: t('Graph'), node: graph.node },
        { id: 'timeline', label: t('Timeline'), node: timeline.node },
        { id: 'table', label: t('Table'), node: table.node }
      ],
      () => this.redraw()
    );
  }

  /** Shows tasks as they stand now. */
  update(tasks: readonly Task[], selected: string, now: number): void {
    this.last = [tasks, selected, now];
    this.redraw();
  }

  /** Gives the keyboard to the selected task. */
  focus(): void {
    this.current?.focus();
  }

  private get current(): TasksView | undefined {
    return this.views[this.tabs.current];
  }

  private redraw(): void {
    if (this.last !== undefined) {
      this.current?.update(...this.last);
    }
  }
}
