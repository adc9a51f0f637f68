/** The list of runs: a tree to go through with the keyboard, however long it is. */

import type { RunRow } from '../api/types';
import type { RunList } from '../model/runs';
import { t } from '../view/i18n';
import { VirtualLines } from '../virtual';
import { drawLine } from './row';

const HEIGHTS = { comfortable: 48, compact: 28, group: 28 };

export interface ListCallbacks {
  onOpen(row: RunRow): void;
  onSelect(selected: ReadonlyMap<string, RunRow>): void;
}

export class ListView {
  readonly lines: VirtualLines;
  density: 'comfortable' | 'compact' = 'comfortable';
  private active = 0;
  private readonly selected = new Map<string, RunRow>();
  private shape = '';

  constructor(
    private readonly list: RunList,
    private readonly callbacks: ListCallbacks
  ) {
    this.lines = new VirtualLines(
      {
        height: at => (this.list.line(at)?.kind === 'group' ? HEIGHTS.group : HEIGHTS[this.density]),
        draw: (at, node) => this.draw(at, node),
        onSeen: (from, to) => this.list.look(from, to)
      },
      { class: 'kfpm-list', role: 'tree', tabindex: '0', 'aria-multiselectable': 'true', 'aria-label': t('Pipeline runs') }
    );
    const { node } = this.lines;
    node.addEventListener('click', event => this.onClick(event));
    node.addEventListener('contextmenu', event => this.activate(this.lineAt(event)));
    node.addEventListener('keydown', event => this.onKey(event));
  }

  /** Draws what the model has. */
  update(): void {
    const shape = `${this.list.grouping} ${this.density}`;
    this.active = Math.min(this.active, Math.max(0, this.list.length - 1));
    this.lines.update(this.list.length, shape !== this.shape || this.list.grouping !== 'none');
    this.shape = shape;
    if (this.list.length > 0) {
      this.lines.node.setAttribute('aria-activedescendant', lineId(this.active));
    } else {
      this.lines.node.removeAttribute('aria-activedescendant');
    }
  }

  /** Selects nothing. */
  clear(): void {
    this.selected.clear();
    this.callbacks.onSelect(this.selected);
    this.update();
  }

  private draw(at: number, node: HTMLElement): void {
    const line = this.list.line(at);
    const id = line?.kind === 'run' ? (line.row?.id ?? '') : '';
    drawLine(line, node, {
      id: lineId(at),
      isActive: at === this.active,
      isSelected: this.selected.has(id),
      isCompact: this.density === 'compact',
      grouping: this.list.grouping,
      now: Date.now() / 1000 + this.list.skew
    });
    node.dataset['at'] = String(at);
  }

  private lineAt(event: Event): number {
    const node = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-at]') : null;
    return node === null ? this.active : Number(node.dataset['at']);
  }

  private activate(at: number): void {
    this.active = Math.max(0, Math.min(at, this.list.length - 1));
    this.lines.reveal(this.active);
    this.update();
  }

  private onClick(event: MouseEvent): void {
    if (!(event.target instanceof Element) || event.target.closest('[data-at]') === null) {
      return;
    }
    this.activate(this.lineAt(event));
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest('.kfpm-row-sign') !== null) {
      this.toggle();
    } else {
      this.open();
    }
  }

  private open(): void {
    const line = this.list.line(this.active);
    if (line?.kind === 'group') {
      this.list.toggle(line.value);
    } else if (line?.row !== undefined) {
      this.callbacks.onOpen(line.row);
    }
  }

  private toggle(): void {
    const line = this.list.line(this.active);
    if (line?.kind === 'run' && line.row !== undefined) {
      if (!this.selected.delete(line.row.id)) {
        this.selected.set(line.row.id, line.row);
      }
      this.callbacks.onSelect(this.selected);
      this.update();
    }
  }

  private onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.lines.node.clientHeight / HEIGHTS[this.density]) - 1);
    const moves: { [key: string]: number } = {
      ArrowUp: this.active - 1,
      ArrowDown: this.active + 1,
      PageUp: this.active - page,
      PageDown: this.active + page,
      Home: 0,
      End: this.list.length - 1
    };
    const line = this.list.line(this.active);
    const to = moves[event.key];
    if (event.altKey || event.metaKey || event.ctrlKey) {
      return;
    }
    if (to !== undefined) {
      this.activate(to);
    } else if (event.key === 'Enter') {
      this.open();
    } else if (event.key === ' ') {
      line?.kind === 'group' ? this.open() : this.toggle();
    } else if (event.key === 'Escape' && this.selected.size > 0) {
      this.clear();
    } else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
      this.sideways(event.key === 'ArrowRight');
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private sideways(isRight: boolean): void {
    const line = this.list.line(this.active);
    if (line?.kind === 'group' && line.isOpen !== isRight) {
      this.list.toggle(line.value);
    } else if (line?.kind === 'run' && line.depth > 0 && !isRight) {
      this.activate(this.active - line.at - 1);
    }
  }
}

function lineId(at: number): string {
  return `kfpm-run-${at}`;
}
