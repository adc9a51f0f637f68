/** Many lines of which only those in sight are in the page. */

import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from '@tanstack/virtual-core';

import { element } from './view/dom';

export interface LineSource {
  /** Height of a line in pixels. */
  height(at: number): number;
  /** Makes a line as it stands now; it is called often and changes only what is not as it should be. */
  draw(at: number, line: HTMLElement): void;
  /** Says which lines are in sight. */
  onSeen?(from: number, to: number): void;
}

export class VirtualLines {
  readonly node: HTMLElement;
  private readonly room = element('div', { class: 'kfpm-lines-room', role: 'presentation' });
  private readonly lines = new Map<number, HTMLElement>();
  private readonly virtualizer: Virtualizer<HTMLElement, HTMLElement>;
  private readonly unmount: () => void;
  private count = 0;

  constructor(
    private readonly source: LineSource,
    attributes: { [name: string]: string }
  ) {
    this.node = element('div', attributes, this.room);
    this.virtualizer = new Virtualizer<HTMLElement, HTMLElement>(this.options(0));
    this.unmount = this.virtualizer._didMount();
  }

  /** Says how many lines there are and draws those in sight. */
  update(count: number, heightsChanged = false): void {
    if (count !== this.count || heightsChanged) {
      this.count = count;
      this.virtualizer.setOptions(this.options(count));
      if (heightsChanged) {
        this.virtualizer.measure();
      }
    }
    this.virtualizer._willUpdate();
    this.draw();
  }

  /** The element of a line in sight. */
  line(at: number): HTMLElement | undefined {
    return this.lines.get(at);
  }

  /** Brings a line into sight. */
  reveal(at: number, align: 'auto' | 'center' | 'start' | 'end' = 'auto'): void {
    this.virtualizer.scrollToIndex(at, { align });
    this.draw();
  }

  dispose(): void {
    this.unmount();
  }

  private options(count: number): ConstructorParameters<typeof Virtualizer<HTMLElement, HTMLElement>>[0] {
    return {
      count,
      getScrollElement: () => this.node,
      estimateSize: at => this.source.height(at),
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      overscan: 12,
      onChange: () => this.draw()
    };
  }

  private draw(): void {
    const items = this.virtualizer.getVirtualItems();
    this.room.style.height = `${this.virtualizer.getTotalSize()}px`;
    const seen = new Set(items.map(item => item.index));
    for (const [at, line] of this.lines) {
      if (!seen.has(at)) {
        line.remove();
        this.lines.delete(at);
      }
    }
    for (const item of items) {
      let line = this.lines.get(item.index);
      if (line === undefined) {
        line = element('div');
        this.lines.set(item.index, line);
        this.room.append(line);
      }
      this.source.draw(item.index, line);
      line.style.transform = `translateY(${item.start}px)`;
      line.style.height = `${item.size}px`;
    }
    const [first, last] = [items[0], items[items.length - 1]];
    if (first !== undefined && last !== undefined) {
      this.source.onSeen?.(first.index, last.index + 1);
    }
  }
}
