/** Long loops are shown in part: the first items, and those that need attention. */

import type { Task } from './types';

const SHOWN = 5;

/** What is left of the tasks, and how many items each folded loop hides. */
export interface Folded {
  tasks: Task[];
  hidden: Map<string, number>;
}

/** Leaves out items of loops that are not opened. */
export function fold(tasks: readonly Task[], opened: ReadonlySet<string>): Folded {
  const hidden = new Map<string, number>();
  const gone: string[] = [];
  for (const loop of tasks.filter(task => task.kind === 'loop' && !opened.has(task.id))) {
    const items = tasks.filter(task => task.parent === loop.id);
    const left = items.filter((item, at) => at >= SHOWN && item.state !== 'failed' && item.state !== 'running');
    if (left.length > 1) {
      hidden.set(loop.id, left.length);
      gone.push(...left.map(item => item.id));
    }
  }
  const isGone = (id: string): boolean => gone.some(one => id === one || id.startsWith(`${one}/`));
  return { tasks: gone.length === 0 ? [...tasks] : tasks.filter(task => !isGone(task.id)), hidden };
}
