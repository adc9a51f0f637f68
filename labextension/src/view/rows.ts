/** Tasks as rows: groups before their members, further in; the keyboard goes up and down. */

import { byParent } from './fold';
import type { Task } from './types';

export interface Row {
  task: Task;
  depth: number;
}

/** Orders tasks so that members follow their group. */
export function inOrder(tasks: readonly Task[]): Row[] {
  const members = byParent(tasks);
  const rows: Row[] = [];
  const visit = (parent: string, depth: number): void => {
    for (const task of members.get(parent) ?? []) {
      rows.push({ task, depth });
      visit(task.id, depth + 1);
    }
  };
  visit('', 0);
  return rows;
}

/** Moves the focus among the children of a node: up, down, first, last. */
export function moveByKey(event: KeyboardEvent, rows: readonly HTMLElement[]): void {
  const here = rows.findIndex(row => row === event.target);
  const next: { [key: string]: number } = { ArrowUp: here - 1, ArrowDown: here + 1, Home: 0, End: rows.length - 1 };
  const row = here < 0 || event.ctrlKey || event.metaKey ? undefined : rows[next[event.key] ?? -1];
  if (row !== undefined) {
    event.preventDefault();
    event.stopPropagation();
    row.focus();
  }
}
