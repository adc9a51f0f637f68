/** The graph: boxes that are buttons, curves for what needs what, and the arrow keys to go from one to the next. */

import { element, svg } from './dom';
import { fold, type Folded } from './fold';
import { t, tn } from './i18n';
import { stateIcon } from './icons';
import { arrange, walk, type Box, type Drawing } from './layout';
import { neighbour } from './neighbour';
import { note, stateWord, title } from './text';
import type { Task, TasksView } from './types';
import { Viewport } from './viewport';

interface Callbacks {
  onSelect(taskId: string): void;
}

const BUNDLE = 40; // boxes whose curves are one element

export class Graph implements TasksView {
  readonly node: HTMLElement;
  private readonly viewport = new Viewport();
  private readonly canvas = element('div', { class: 'kfpm-canvas', role: 'group' });
  private shape = '';
  private boxes = new Map<string, Box>();
  private buttons = new Map<string, HTMLElement>();
  private drawn = new Map<string, Task>();
  private near = svg('path', { class: 'kfpm-near' });
  private readonly choices = { items: new Set<string>(), open: new Set<string>(), closed: new Set<string>() };
  private tasks: readonly Task[] = [];
  private selected = '';
  private now = 0;

  constructor(private readonly callbacks: Callbacks) {
    this.canvas.setAttribute('aria-label', t('Graph of the run'));
    this.canvas.addEventListener('keydown', event => this.onKey(event));
    this.viewport.show(this.canvas);
    this.node = this.viewport.node;
  }

  /** Draws tasks as they stand now; boxes stay the same elements while the shape stays the same. */
  update(tasks: readonly Task[], selected: string, now: number): void {
    this.tasks = tasks;
    this.selected = selected;
    this.now = now;
    const folded = fold(tasks, this.choices);
    const shape = JSON.stringify([folded.tasks.map(task => [task.id, task.needs]), [...folded.closed], [...folded.hidden]]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.draw(arrange(folded.tasks), folded);
    }
    for (const task of folded.tasks) {
      this.refresh(task, folded, now);
    }
    this.select(selected);
  }

  /** Marks a task; it is the one that the Tab key comes to. */
  select(taskId: string): void {
    this.selected = taskId;
    const reachable = this.buttons.has(taskId) ? taskId : this.buttons.keys().next().value;
    for (const [id, button] of this.buttons) {
      const pressed = String(id === taskId);
      if (button.getAttribute('aria-pressed') !== pressed) {
        button.setAttribute('aria-pressed', pressed);
      }
      button.tabIndex = id === reachable ? 0 : -1;
    }
    this.near.setAttribute('d', this.curvesAt(taskId));
  }

  /** Gives the keyboard to the selected task. */
  focus(): void {
    (this.buttons.get(this.selected) ?? this.buttons.values().next().value)?.focus();
  }

  private draw(drawing: Drawing, folded: Folded): void {
    const focused = [...this.buttons].find(([, button]) => button === document.activeElement)?.[0];
    const every = [...walk(drawing.boxes)];
    this.boxes = new Map(every.map(box => [box.task.id, box]));
    this.buttons = new Map(every.map(box => [box.task.id, this.makeButton(box)]));
    this.drawn.clear();
    this.canvas.replaceChildren(this.edges(drawing), ...this.buttons.values());
    for (const box of every) {
      if (box.members.length > 0 || folded.closed.has(box.task.id)) {
        this.canvas.append(this.makeFolder(box, folded));
      }
    }
    for (const [loop, count] of folded.hidden) {
      this.canvas.append(this.makeOpener(loop, count));
    }
    this.viewport.resize(drawing.width, drawing.height);
    if (focused !== undefined) {
      this.buttons.get(focused)?.focus();
    }
  }

  private makeButton(box: Box): HTMLElement {
    const kind = box.members.length > 0 ? 'kfpm-box kfpm-group' : 'kfpm-box';
    const button = element(
      'button',
      { class: kind, style: place(box.x, box.y, box.width, box.height), type: 'button' },
      element('span', { class: 'kfpm-sign' }),
      element('span', { class: 'kfpm-name' }),
      element('span', { class: 'kfpm-note' })
    );
    button.addEventListener('click', () => this.callbacks.onSelect(box.task.id));
    return button;
  }

  private makeFolder(box: Box, folded: Folded): HTMLElement {
    const id = box.task.id;
    const isOpen = !folded.closed.has(id);
    const folder = element('button', { class: 'kfpm-fold', type: 'button', 'aria-expanded': String(isOpen) });
    folder.style.cssText = place(box.x + box.width - 24, box.y + 3, 20, 20);
    folder.setAttribute('aria-label', isOpen ? t('Fold %1', title(box.task)) : t('Unfold %1', title(box.task)));
    folder.textContent = isOpen ? '−' : '+';
    folder.addEventListener('click', () => {
      this.choices[isOpen ? 'closed' : 'open'].add(id);
      this.choices[isOpen ? 'open' : 'closed'].delete(id);
      this.redraw();
      this.buttons.get(id)?.focus();
    });
    return folder;
  }

  private makeOpener(loop: string, count: number): HTMLElement {
    const box = this.boxes.get(loop);
    const opener = element('button', { class: 'kfpm-open', type: 'button' }, tn('show %1 more', 'show %1 more', count));
    opener.style.cssText = place((box?.x ?? 0) + (box?.width ?? 0) - 128, (box?.y ?? 0) + 3, 98, 20);
    opener.addEventListener('click', () => {
      this.choices.items.add(loop);
      this.redraw();
    });
    return opener;
  }

  private redraw(): void {
    this.update(this.tasks, this.selected, this.now);
  }

  private edges(drawing: Drawing): SVGElement {
    const curves = [...this.boxes.keys()].map(id => this.curvesInto(id)).filter(curve => curve !== '');
    // In bundles: few elements, and what is out of sight need not be painted.
    const bundles = Array.from({ length: Math.ceil(curves.length / BUNDLE) }, (_, at) =>
      svg('path', { d: curves.slice(at * BUNDLE, (at + 1) * BUNDLE).join('') })
    );
    const size = { width: String(drawing.width), height: String(drawing.height) };
    return svg('svg', { class: 'kfpm-edges', 'aria-hidden': 'true', ...size }, ...bundles, this.near);
  }

  private curvesInto(id: string): string {
    const to = this.boxes.get(id);
    return (to?.task.needs ?? []).map(need => curve(this.boxes.get(need), to)).join('');
  }

  private curvesAt(id: string): string {
    const from = this.boxes.get(id);
    const out = [...this.boxes.values()].filter(box => box.task.needs.includes(id)).map(box => curve(from, box));
    return this.curvesInto(id) + out.join('');
  }

  private refresh(task: Task, folded: Folded, now: number): void {
    const button = this.buttons.get(task.id);
    const before = this.drawn.get(task.id);
    if (button === undefined || (before === task && (task.finished !== null || task.started === null))) {
      return;
    }
    this.drawn.set(task.id, task);
    const inside = folded.closed.get(task.id);
    const small = inside === undefined ? note(task, now) : tn('%1 step', '%1 steps', inside);
    if (before?.state !== task.state) {
      button.dataset['state'] = task.state;
      button.children[0]?.replaceChildren(stateIcon(task.state));
    }
    button.title = task.id;
    const word = stateWord(task.state);
    button.setAttribute('aria-label', [title(task), word, ...(small === word ? [] : [small])].join(', '));
    setText(button.children[1], title(task));
    setText(button.children[2], small);
  }

  private onKey(event: KeyboardEvent): void {
    const here = [...this.buttons].find(([, button]) => button === event.target)?.[0];
    if (here === undefined || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const ids = [...this.buttons.keys()];
    const ends: { [key: string]: string | undefined } = { Home: ids[0], End: ids[ids.length - 1] };
    const next = event.key in ends ? ends[event.key] : neighbour(this.boxes, here, event.key);
    if (next !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      this.buttons.get(next)?.focus();
    }
  }
}

function place(x: number, y: number, width: number, height: number): string {
  return `left:${x}px;top:${y}px;width:${width}px;height:${height}px`;
}

function setText(node: Element | undefined, text: string): void {
  if (node !== undefined && node.textContent !== text) {
    node.textContent = text;
  }
}

function curve(from: Box | undefined, to: Box | undefined): string {
  if (from === undefined || to === undefined) {
    return '';
  }
  const [x1, y1] = [from.x + from.width, from.y + from.height / 2];
  const [x2, y2] = [to.x, to.y + to.height / 2];
  const bend = Math.max(18, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}
