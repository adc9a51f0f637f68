/** What of a run is drawn: long loops in part, groups that are closed as one box, large runs closed from the start. */

import { isStep, type State, type Task } from './types';

const SHOWN = 5; // items of a loop
const MANY = 250; // boxes; a run with more begins closed

/** What is left of the tasks, and what stands for the rest. */
export interface Folded {
  tasks: Task[];
  /** Loop → how many of its items are left out. */
  hidden: Map<string, number>;
  /** Closed group → how many steps are in it. */
  closed: Map<string, number>;
}

/** What the user opened and closed by hand. */
export interface Choices {
  items: ReadonlySet<string>;
  open: ReadonlySet<string>;
  closed: ReadonlySet<string>;
}

const TELLING: ReadonlySet<State> = new Set<State>(['failed', 'running']);

/** Leaves out the items of long loops and what is in closed groups. */
export function fold(tasks: readonly Task[], choices: Choices): Folded {
  const members = byParent(tasks);
  const folded: Folded = { tasks: [], hidden: new Map(), closed: new Map() };
  const beginClosed = tasks.length > MANY;
  const visit = (parent: string): void => {
    const left = leftOut(members.get(parent) ?? [], choices.items.has(parent));
    if (left.size > 0) {
      folded.hidden.set(parent, left.size);
    }
    for (const task of members.get(parent) ?? []) {
      if (left.has(task.id)) {
        continue;
      }
      folded.tasks.push(task);
      if (!members.has(task.id)) {
        continue;
      }
      if (choices.closed.has(task.id) || (beginClosed && !choices.open.has(task.id) && !tellsMuch(task, members))) {
        folded.closed.set(task.id, countSteps(task.id, members));
      } else {
        visit(task.id);
      }
    }
  };
  visit('');
  return folded;
}

/** Tasks by the group they are in. */
export function byParent(tasks: readonly Task[]): Map<string, Task[]> {
  const members = new Map<string, Task[]>();
  for (const task of tasks) {
    const beside = members.get(task.parent);
    if (beside === undefined) {
      members.set(task.parent, [task]);
    } else {
      beside.push(task);
    }
  }
  return members;
}

function leftOut(items: readonly Task[], opened: boolean): Set<string> {
  if (opened || items[0]?.kind !== 'iteration') {
    return new Set();
  }
  const left = items.filter((item, at) => at >= SHOWN && !TELLING.has(item.state));
  return new Set(left.length > 1 ? left.map(item => item.id) : []);
}

function tellsMuch(group: Task, members: ReadonlyMap<string, Task[]>): boolean {
  return TELLING.has(group.state) && (members.get(group.id)?.length ?? 0) < MANY;
}

function countSteps(group: string, members: ReadonlyMap<string, Task[]>): number {
  return (members.get(group) ?? []).reduce((sum, task) => sum + (isStep(task) ? 1 : countSteps(task.id, members)), 0);
}
