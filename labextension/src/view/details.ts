/** Everything that is known about one task. */

import Anser from 'anser';

import { element } from './dom';
import { lasted, MARKS, valueText } from './text';
import type { Artifact, Failure, Json, Task } from './types';

export class Details {
  readonly node = element('section', { class: 'kfpm-details', 'aria-label': 'Selected step' });
  private readonly log = element('pre', { class: 'kfpm-log', tabindex: '0', 'aria-label': 'End of the log' });
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
    this.node.replaceChildren(...this.parts(task, now), this.log);
  }

  /** Shows the end of a task's log. */
  setTail(taskId: string, text: string): void {
    if (this.logOf === taskId && this.logText === text) {
      return;
    }
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    this.logOf = taskId;
    this.logText = text;
    this.log.replaceChildren(...coloured(text));
    this.log.hidden = text === '';
    if (atEnd) {
      this.log.scrollTop = this.log.scrollHeight;
    }
  }

  private parts(task: Task, now: number): Node[] {
    const took = lasted(task, now);
    const state = element('span', { class: 'kfpm-state', 'data-state': task.state }, `${MARKS[task.state]} ${task.state}`);
    const facts = [took, task.attempt > 1 ? `attempt ${task.attempt}` : '', task.reason].filter(one => one !== '');
    return [
      element('h4', {}, task.id, ' ', state),
      ...(facts.length > 0 ? [element('div', { class: 'kfpm-quiet' }, facts.join(' · '))] : []),
      ...(task.error !== null ? [errorBox(task.error)] : []),
      ...valueTable('Inputs', task.inputs),
      ...artifactTable('Input artifacts', task.artifacts.filter(one => one.io === 'input')),
      ...valueTable('Outputs', task.outputs),
      ...artifactTable('Artifacts', task.artifacts.filter(one => one.io === 'output'))
    ];
  }
}

/** Says why something failed: what, on which line of the cell, and what to do. */
export function errorBox(error: Failure): HTMLElement {
  const box = element('div', { class: 'kfpm-error', role: 'alert' }, element('strong', {}, error.message));
  if (error.line !== null) {
    box.append(element('code', {}, `line ${error.line}: ${error.text}`));
  }
  if (error.hint !== '') {
    box.append(element('div', {}, error.hint));
  }
  return box;
}

/** A table of names and values, or nothing when there are none. */
export function valueTable(title: string, values: { [key: string]: Json }): HTMLElement[] {
  const rows = Object.entries(values).map(([name, value]) =>
    element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, valueText(value)))
  );
  return rows.length === 0 ? [] : [element('table', {}, element('caption', {}, title), ...rows)];
}

function artifactTable(title: string, artifacts: Artifact[]): HTMLElement[] {
  const rows = artifacts.map(one =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, one.name),
      element('td', {}, one.type.replace(/^system\./, '')),
      element('td', {}, metadataText(one)),
      element('td', { class: 'kfpm-quiet kfpm-uri', title: one.uri }, one.uri)
    )
  );
  return rows.length === 0 ? [] : [element('table', {}, element('caption', {}, title), ...rows)];
}

function metadataText(artifact: Artifact): string {
  return Object.entries(artifact.metadata)
    .filter(([key]) => key !== 'display_name')
    .map(([key, value]) => `${key} = ${valueText(value, 80)}`)
    .join('\n');
}

function coloured(text: string): Node[] {
  return Anser.ansiToJson(text, { use_classes: true, remove_empty: true }).map(part => {
    const classes = [part.fg, part.decoration].filter(Boolean).map(name => `kfpm-${name}`);
    return element('span', classes.length > 0 ? { class: classes.join(' ') } : {}, part.content);
  });
}
