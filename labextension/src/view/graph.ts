/** The graph: boxes that are buttons, curves for what needs what, and the arrow keys to go from one to the next. */

import { element, svg } from './dom';
import { fold } from './fold';
import { arrange, walk, type Box, type Drawing } from './layout';
import { MARKS, note } from './text';
import type { Task } from './types';

interface Callbacks {
  onSelect(taskId: string): void;
}

type Direction = 'ArrowLeft' | 'ArrowRight' | 'ArrowUp' | 'ArrowDown';

export class Graph {
  readonly node = element('div', { class: 'kfpm-graph', role: 'group', 'aria-label': 'Graph of the run' });
  private shape = '';
  private boxes = new Map<string, Box>();
  private buttons = new Map<string, HTMLElement>();
  private readonly opened = new Set<string>();
  private tasks: readonly Task[] = [];
  private selected = '';

  constructor(private readonly callbacks: Callbacks) {
    this.node.addEventListener('keydown', event => this.onKey(event));
  }

  /** Draws tasks as they stand now; boxes stay the same elements while the shape stays the same. */
  update(tasks: readonly Task[], selected: string, now: number): void {
    this.tasks = tasks;
    this.selected = selected;
    const folded = fold(tasks, this.opened);
    const shape = JSON.stringify(folded.tasks.map(task => [task.id, task.needs]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.draw(arrange(folded.tasks), folded.hidden);
    }
    for (const task of folded.tasks) {
      this.refresh(task, now);
    }
    this.select(selected);
  }

  /** Marks a task; it is the one that the Tab key comes to. */
  select(taskId: string): void {
    this.selected = taskId;
    const reachable = this.buttons.has(taskId) ? taskId : this.buttons.keys().next().value;
    for (const [id, button] of this.buttons) {
      button.setAttribute('aria-pressed', String(id === taskId));
      button.tabIndex = id === reachable ? 0 : -1;
    }
  }

  /** Gives the keyboard to the selected task. */
  focus(): void {
    (this.buttons.get(this.selected) ?? this.buttons.values().next().value)?.focus();
  }

  private draw(drawing: Drawing, hidden: ReadonlyMap<string, number>): void {
    const focused = [...this.buttons].find(([, button]) => button === document.activeElement)?.[0];
    const every = [...walk(drawing.boxes)];
    this.boxes = new Map(every.map(box => [box.task.id, box]));
    this.buttons = new Map(every.map(box => [box.task.id, this.makeButton(box)]));
    const size = `width:${drawing.width}px;height:${drawing.height}px`;
    const canvas = element('div', { class: 'kfpm-canvas', style: size }, ...this.buttons.values());
    canvas.append(this.edges(every, drawing));
    for (const [loop, count] of hidden) {
      canvas.append(this.makeOpener(loop, count));
    }
    this.node.replaceChildren(canvas);
    if (focused !== undefined) {
      this.buttons.get(focused)?.focus();
    }
  }

  private makeButton(box: Box): HTMLElement {
    const place = `left:${box.x}px;top:${box.y}px;width:${box.width}px;height:${box.height}px`;
    const kind = box.members.length > 0 ? 'kfpm-box kfpm-group' : 'kfpm-box';
    const button = element(
      'button',
      { class: kind, style: place, type: 'button' },
      element('span', { class: 'kfpm-name' }),
      element('span', { class: 'kfpm-note' })
    );
    button.addEventListener('click', () => this.callbacks.onSelect(box.task.id));
    return button;
  }

  private makeOpener(loop: string, count: number): HTMLElement {
    const box = this.boxes.get(loop);
    const place = `left:${(box?.x ?? 0) + (box?.width ?? 0) - 96}px;top:${(box?.y ?? 0) + 3}px`;
    const opener = element('button', { class: 'kfpm-open', style: place, type: 'button' }, `show ${count} more`);
    opener.addEventListener('click', () => {
      this.opened.add(loop);
      this.update(this.tasks, this.selected, Date.now() / 1000);
    });
    return opener;
  }

  private edges(boxes: readonly Box[], drawing: Drawing): SVGElement {
    const paths = boxes.flatMap(box =>
      box.task.needs.flatMap(need => {
        const from = this.boxes.get(need);
        return from === undefined ? [] : [svg('path', { d: curve(from, box) })];
      })
    );
    const size = { width: String(drawing.width), height: String(drawing.height) };
    return svg('svg', { class: 'kfpm-edges', 'aria-hidden': 'true', ...size }, ...paths);
  }

  private refresh(task: Task, now: number): void {
    const button = this.buttons.get(task.id);
    if (button === undefined) {
      return;
    }
    const title = task.kind === 'iteration' ? `item ${task.name}` : task.name;
    const small = note(task, now);
    button.dataset['state'] = task.state;
    button.title = task.id;
    button.setAttribute('aria-label', `${title}, ${task.state}${small === task.state ? '' : `, ${small}`}`);
    setText(button.children[0], `${MARKS[task.state]} ${title}`);
    setText(button.children[1], small);
  }

  private onKey(event: KeyboardEvent): void {
    const here = [...this.buttons].find(([, button]) => button === event.target)?.[0];
    if (here === undefined) {
      return;
    }
    const ids = [...this.buttons.keys()];
    const next =
      event.key === 'Home' ? ids[0] : event.key === 'End' ? ids[ids.length - 1] : this.neighbour(here, event.key);
    if (next !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      this.buttons.get(next)?.focus();
    }
  }

  private neighbour(here: string, key: string): string | undefined {
    const from = this.boxes.get(here);
    if (from === undefined || !key.startsWith('Arrow')) {
      return undefined;
    }
    const ahead = [...this.boxes.values()]
      .map(box => ({ id: box.task.id, ...offset(from, box, key as Direction) }))
      .filter(one => one.id !== here && one.along > 4);
    ahead.sort((a, b) => a.along + 2 * a.aside - (b.along + 2 * b.aside));
    return ahead[0]?.id;
  }
}

function setText(node: Element | undefined, text: string): void {
  if (node !== undefined && node.textContent !== text) {
    node.textContent = text;
  }
}

function curve(from: Box, to: Box): string {
  const [x1, y1] = [from.x + from.width, from.y + from.height / 2];
  const [x2, y2] = [to.x, to.y + to.height / 2];
  const bend = Math.max(18, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function offset(from: Box, to: Box, key: Direction): { along: number; aside: number } {
  const x = to.x + to.width / 2 - (from.x + from.width / 2);
  const y = to.y + to.height / 2 - (from.y + from.height / 2);
  const along = { ArrowLeft: -x, ArrowRight: x, ArrowUp: -y, ArrowDown: y }[key];
  return { along, aside: Math.abs(key === 'ArrowLeft' || key === 'ArrowRight' ? y : x) };
}
