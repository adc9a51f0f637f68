/** Where the boxes of a graph stand: each group is laid out by itself, and its members inside it. */

import { graphlib, layout as dagreLayout } from '@dagrejs/dagre';

import { byParent } from './fold';
import { placeInLayers, type Place } from './layers';
import type { Task } from './types';

export const WIDTH = 176;
export const HEIGHT = 44;
const TITLE = 26;
const MARGIN = 12;
const LARGE = 100; // dagre takes 0.3 s for so many boxes, and much longer for more

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
  return level('', byParent(tasks));
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
  const indexes = new Map(boxes.map((box, at) => [box.task.id, at]));
  const needs = boxes.map(box => box.task.needs.flatMap(need => indexes.get(need) ?? []));
  const places = boxes.length > LARGE ? inLayers(boxes, needs) : byDagre(boxes, needs);
  boxes.forEach((box, at) => shift(box, places[at]?.x ?? 0, places[at]?.y ?? 0));
  const right = Math.max(0, ...boxes.map(box => box.x + box.width));
  const bottom = Math.max(0, ...boxes.map(box => box.y + box.height));
  return { boxes, width: right + 2, height: bottom + 2 };
}

function inLayers(boxes: readonly Box[], needs: readonly number[][]): Place[] {
  return placeInLayers(boxes.map(({ width, height }, at) => ({ width, height, needs: needs[at] ?? [] })));
}

function byDagre(boxes: readonly Box[], needs: readonly number[][]): Place[] {
  const graph = new graphlib.Graph();
  graph.setGraph({ rankdir: 'LR', nodesep: 14, ranksep: 44, marginx: 2, marginy: 2 });
  graph.setDefaultEdgeLabel(() => ({}));
  boxes.forEach(({ width, height }, at) => graph.setNode(String(at), { width, height }));
  needs.forEach((some, at) => some.forEach(need => graph.setEdge(String(need), String(at))));
  dagreLayout(graph);
  return boxes.map((box, at) => {
    const middle = graph.node(String(at)) as { x: number; y: number };
    return { x: middle.x - box.width / 2, y: middle.y - box.height / 2 };
  });
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
