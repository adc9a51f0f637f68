/** The signs of states: a shape and a colour each, so that neither is needed to tell them apart. */

import { svg } from './dom';
import type { State } from './types';

const CIRCLE = 'M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13z';

/** Filled outline and the strokes on it. */
const SHAPES: Readonly<Record<State, { fill?: string; stroke?: string; ring?: string }>> = {
  pending: { ring: CIRCLE },
  running: { ring: CIRCLE, stroke: 'M8 1.5a6.5 6.5 0 0 1 6.5 6.5' },
  succeeded: { fill: CIRCLE, stroke: 'M4.9 8.3l2.2 2.2l4.1-4.7' },
  failed: { fill: CIRCLE, stroke: 'M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8' },
  cancelled: { fill: CIRCLE, stroke: 'M5 8h6' },
  skipped: { ring: CIRCLE, stroke: 'M5.4 5l2.8 3l-2.8 3M8.4 5l2.8 3l-2.8 3' },
  unknown: { ring: CIRCLE, stroke: 'M6.2 6.4a1.9 1.9 0 1 1 2.6 1.8q-.8.4-.8 1.2M8 11.6v.1' }
};

/** Draws the sign of a state; its meaning is said in words beside it. */
export function stateIcon(state: State): SVGElement {
  const shape = SHAPES[state];
  const parts: Node[] = [];
  if (shape.ring !== undefined) {
    parts.push(svg('path', { d: shape.ring, class: 'kfpm-ring' }));
  }
  if (shape.fill !== undefined) {
    parts.push(svg('path', { d: shape.fill, class: 'kfpm-fill' }));
  }
  if (shape.stroke !== undefined) {
    parts.push(svg('path', { d: shape.stroke, class: 'kfpm-stroke' }));
  }
  return svg('svg', { class: 'kfpm-icon', 'data-state': state, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, ...parts);
}
