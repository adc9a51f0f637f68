/** Where the boxes of a graph stand: each group is laid out by itself, and its members inside it. */

import { graphlib, layout as dagreLayout } from '@dagrejs/dagre';

import type { Task } from './types';

export const WIDTH = 176;
export const HEIGHT = 42;
const TITLE = 26;
const MARGIN = 12;

/** A task with its place in pixels, from the upper left corner of the drawing. */
export interface Box {
  task: Task;
  x: number;
  y: number;
  width: number;
  height: number;
  members: Box[];
}

export interface Drawing {
  boxes: Box[];
  width: number;
  height: number;
}

/** Arranges tasks, from left to right in the order of their needs. */
export function arrange(tasks: readonly Task[]): Drawing {
  const members = new Map<string, Task[]>();
  for (const task of tasks) {
    members.set(task.parent, [...(members.get(task.parent) ?? []), task]);
  }
  return level('', members);
}

/** Yields boxes and everything inside them, outside first. */
export function* walk(boxes: readonly Box[]): Generator<Box> {
  for (const box of boxes) {
    yield box;
    yield* walk(box.members);
  }
}

function level(parent: string, members: Map<string, Task[]>): Drawing {
  const boxes = (members.get(parent) ?? []).map(task => makeBox(task, members));
  const graph = new graphlib.Graph();
  graph.setGraph({ rankdir: 'LR', nodesep: 14, ranksep: 44, marginx: 2, marginy: 2 });
  graph.setDefaultEdgeLabel(() => ({}));
  const known = new Set(boxes.map(box => box.task.id));
  for (const box of boxes) {
    graph.setNode(box.task.id, { width: box.width, height: box.height });
  }
  for (const box of boxes) {
    for (const need of box.task.needs.filter(one => known.has(one))) {
      graph.setEdge(need, box.task.id);
    }
  }
  dagreLayout(graph);
  for (const box of boxes) {
    const place = graph.node(box.task.id) as { x: number; y: number };
    shift(box, place.x - box.width / 2, place.y - box.height / 2);
  }
  const right = Math.max(0, ...boxes.map(box => box.x + box.width));
  const bottom = Math.max(0, ...boxes.map(box => box.y + box.height));
  return { boxes, width: right + 2, height: bottom + 2 };
}

function makeBox(task: Task, members: Map<string, Task[]>): Box {
  if (!members.has(task.id)) {
    return { task, x: 0, y: 0, width: WIDTH, height: HEIGHT, members: [] };
  }
  const inside = level(task.id, members);
  for (const box of inside.boxes) {
    shift(box, MARGIN - 2, TITLE);
  }
  return {
    task,
    x: 0,
    y: 0,
    width: Math.max(WIDTH, inside.width + 2 * MARGIN - 4),
    height: inside.height + TITLE + MARGIN,
    members: inside.boxes
  };
}

function shift(box: Box, x: number, y: number): void {
  for (const one of walk([box])) {
    one.x += x;
    one.y += y;
  }
}
