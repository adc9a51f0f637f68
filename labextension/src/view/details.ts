/** Everything that is known about one task, under the graph. */

import { coloured } from './ansi';
import { artifactTable, errorBox, shortFacts, stateMark, valueTable } from './blocks';
import { element } from './dom';
import { t } from './i18n';
import { visible } from './text';
import type { Task } from './types';

export class Details {
  readonly node = element('section', { class: 'kfpm-details', 'aria-label': t('Selected step') });
  private readonly log = element('pre', { class: 'kfpm-log', tabindex: '0', 'aria-label': t('End of the log') });
  private shown = '';
  private logOf = '';
  private logText = '';

  /** Shows a task; nothing is drawn anew when nothing has changed. */
  update(task: Task | undefined, now: number): void {
    const key = JSON.stringify([task, task !== undefined && task.finished === null ? Math.floor(now) : 0]);
    if (key === this.shown) {
      return;
    }
    this.shown = key;
    if (task === undefined) {
      this.node.replaceChildren();
      return;
    }
    if (this.logOf !== task.id) {
      this.setTail(task.id, '');
    }
    // Taken out of the page and put back, the log would stand at its beginning.
    const [atEnd, top] = [this.isAtEnd, this.log.scrollTop];
    this.node.replaceChildren(...this.parts(task, now), this.log);
    this.log.scrollTop = atEnd ? this.log.scrollHeight : top;
  }

  /** Shows the end of a task's log. */
  setTail(taskId: string, text: string): void {
    if (this.logOf === taskId && this.logText === text) {
      return;
    }
    const atEnd = this.isAtEnd;
    this.logOf = taskId;
    this.logText = text;
    this.log.replaceChildren(...coloured(text));
    this.log.hidden = text === '';
    if (atEnd) {
      this.log.scrollTop = this.log.scrollHeight;
    }
  }

  private get isAtEnd(): boolean {
    return this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
  }

  private parts(task: Task, now: number): Node[] {
    const facts = shortFacts(task, now);
    return [
      element('h4', {}, visible(task.id), ' ', stateMark(task.state)),
      ...(facts !== '' ? [element('div', { class: 'kfpm-quiet' }, facts)] : []),
      ...(task.error !== null ? [errorBox(task.error)] : []),
      ...valueTable(t('Inputs'), task.inputs),
      ...artifactTable(t('Input artifacts'), task.artifacts.filter(one => one.io === 'input')),
      ...valueTable(t('Outputs'), task.outputs),
      ...artifactTable(t('Artifacts'), task.artifacts.filter(one => one.io === 'output'))
    ];
  }
}
