/** Layers for large graphs: each task right of what it needs. Linear in time, where a better drawing takes seconds. */

/** A box to place; `needs` are indexes of other boxes. */
export interface Node {
  width: number;
  height: number;
  needs: readonly number[];
}

export interface Place {
  x: number;
  y: number;
}

const BESIDE = 14;
const BETWEEN = 44;
const TALL = 60; // boxes in a column before it goes on in a second one

/** Places boxes in columns; inside a column those that need neighbours stand beside each other. */
export function placeInLayers(nodes: readonly Node[]): Place[] {
  const layers = layersOf(nodes);
  const order = new Array<number>(nodes.length).fill(0);
  for (const layer of layers) {
    const wish = new Map(layer.map((node, at) => [node, mean(nodes[node]?.needs ?? [], order) ?? at]));
    layer.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0) || a - b);
    layer.forEach((node, at) => (order[node] = at / layer.length));
  }
  return put(nodes, layers);
}

function layersOf(nodes: readonly Node[]): number[][] {
  const ranks = new Array<number>(nodes.length).fill(0);
  const missing = nodes.map(node => node.needs.length);
  const followers: number[][] = nodes.map(() => []);
  nodes.forEach((node, at) => node.needs.forEach(need => followers[need]?.push(at)));
  const ready = missing.flatMap((count, at) => (count === 0 ? [at] : []));
  for (let next = 0; next < ready.length; next += 1) {
    const here = ready[next] ?? 0;
    for (const follower of followers[here] ?? []) {
      ranks[follower] = Math.max(ranks[follower] ?? 0, (ranks[here] ?? 0) + 1);
      missing[follower] = (missing[follower] ?? 0) - 1;
      if (missing[follower] === 0) {
        ready.push(follower);
      }
    }
  }
  const layers: number[][] = [];
  ranks.forEach((rank, at) => (layers[rank] ??= []).push(at));
  return layers.filter(layer => layer.length > 0);
}

function mean(needs: readonly number[], order: readonly number[]): number | undefined {
  return needs.length === 0 ? undefined : needs.reduce((sum, need) => sum + (order[need] ?? 0), 0) / needs.length;
}

function put(nodes: readonly Node[], layers: readonly number[][]): Place[] {
  const places: Place[] = nodes.map(() => ({ x: 0, y: 0 }));
  const columns = layers.flatMap(layer => pieces(layer, TALL));
  const heights = columns.map(column => column.reduce((sum, node) => sum + (nodes[node]?.height ?? 0) + BESIDE, -BESIDE));
  const tallest = Math.max(0, ...heights);
  let x = 2;
  columns.forEach((column, at) => {
    let y = 2 + (tallest - (heights[at] ?? 0)) / 2;
    for (const node of column) {
      places[node] = { x, y };
      y += (nodes[node]?.height ?? 0) + BESIDE;
    }
    x += Math.max(...column.map(node => nodes[node]?.width ?? 0)) + BETWEEN;
  });
  return places;
}

function pieces<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.slice(at * size, (at + 1) * size));
}
