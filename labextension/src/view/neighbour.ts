/** Which box an arrow key leads to: the nearest one ahead. */

import type { Box } from './layout';

type Direction = 'ArrowLeft' | 'ArrowRight' | 'ArrowUp' | 'ArrowDown';

function isDirection(key: string): key is Direction {
  return key === 'ArrowLeft' || key === 'ArrowRight' || key === 'ArrowUp' || key === 'ArrowDown';
}

/** Finds the box that an arrow key leads to from another one. */
export function neighbour(boxes: ReadonlyMap<string, Box>, here: string, key: string): string | undefined {
  const from = boxes.get(here);
  if (from === undefined || !isDirection(key)) {
    return undefined;
  }
  let best: { id: string; far: number } | undefined;
  for (const box of boxes.values()) {
    const { along, aside } = offset(from, box, key);
    const far = along + 2 * aside;
    if (box.task.id !== here && along > 4 && (best === undefined || far < best.far)) {
      best = { id: box.task.id, far };
    }
  }
  return best?.id;
}

function offset(from: Box, to: Box, key: Direction): { along: number; aside: number } {
  const x = to.x + to.width / 2 - (from.x + from.width / 2);
  const y = to.y + to.height / 2 - (from.y + from.height / 2);
  const along = { ArrowLeft: -x, ArrowRight: x, ArrowUp: -y, ArrowDown: y }[key];
  return { along, aside: Math.abs(key === 'ArrowLeft' || key === 'ArrowRight' ? y : x) };
}
