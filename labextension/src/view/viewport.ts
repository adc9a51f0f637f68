/**
 * A window on a drawing: scrolled, dragged, zoomed.
 *
 * It scrolls as the browser does (and not by moving the drawing), so that the wheel, touch, the keyboard and the focus
 * that moves to a box out of sight all work as everywhere.
 */

import { element } from './dom';
import { t } from './i18n';

const LEAST = 0.1;
const MOST = 2;
const STEP = 1.25;
const DRAG = 4; // pixels after which a press is no click

export class Viewport {
  readonly node = element('div', { class: 'kfpm-viewport' });
  private readonly window = element('div', { class: 'kfpm-graph' });
  private readonly room = element('div', { class: 'kfpm-room' });
  private readonly percent = element('button', { type: 'button', class: 'kfpm-zoom-level' }, '100%');
  private drawing: HTMLElement | undefined;
  private width = 0;
  private height = 0;
  private scale = 1;

  constructor() {
    const button = (label: string, text: string, act: () => void): HTMLElement => {
      const made = element('button', { type: 'button', 'aria-label': label, title: label }, text);
      made.addEventListener('click', act);
      return made;
    };
    this.percent.title = t('Actual size');
    this.percent.addEventListener('click', () => this.zoom(1));
    const controls = element(
      'div',
      { class: 'kfpm-zoom', role: 'toolbar', 'aria-label': t('Zoom') },
      button(t('Zoom out'), '−', () => this.zoom(this.scale / STEP)),
      this.percent,
      button(t('Zoom in'), '+', () => this.zoom(this.scale * STEP)),
      button(t('Show all'), '⤢', () => this.fit())
    );
    this.window.append(this.room);
    this.node.append(this.window, controls);
    this.window.addEventListener('wheel', event => this.onWheel(event), { passive: false });
    this.window.addEventListener('pointerdown', event => this.onPress(event));
    this.node.addEventListener('keydown', event => this.onKey(event));
  }

  /** Puts a drawing in. */
  show(drawing: HTMLElement): void {
    this.drawing = drawing;
    this.room.replaceChildren(drawing);
  }

  /** Says how large the drawing is; one that is a little too large for the window is made smaller. */
  resize(width: number, height: number): void {
    const isFirst = this.width === 0;
    this.width = width;
    this.height = height;
    if (isFirst) {
      // The window has no size before it is in the page.
      requestAnimationFrame(() => this.zoom(Math.min(1, Math.max(0.7, this.fitting().across))));
    }
    this.apply();
  }

  /** Makes the whole drawing visible. */
  fit(): void {
    const { across, down } = this.fitting();
    this.zoom(Math.min(1, across, down));
  }

  /** The scales at which the drawing is as wide and as high as the window. */
  private fitting(): { across: number; down: number } {
    const { clientWidth, clientHeight } = this.window;
    if (clientWidth === 0 || this.width === 0 || this.height === 0) {
      return { across: 1, down: 1 };
    }
    // In a cell's output the window is as high as the drawing, up to a limit.
    const limit = Number.parseFloat(getComputedStyle(this.window).maxHeight) || clientHeight;
    return { across: (clientWidth - 24) / this.width, down: (limit - 24) / this.height };
  }

  private zoom(scale: number, x = this.window.clientWidth / 2, y = this.window.clientHeight / 2): void {
    const next = Math.min(MOST, Math.max(LEAST, scale));
    const [left, top] = [(this.window.scrollLeft + x) / this.scale, (this.window.scrollTop + y) / this.scale];
    this.scale = next;
    this.apply();
    this.window.scrollTo(left * next - x, top * next - y);
  }

  private apply(): void {
    this.room.style.cssText = `width:${this.width * this.scale}px;height:${this.height * this.scale}px`;
    if (this.drawing !== undefined) {
      this.drawing.style.cssText = `width:${this.width}px;height:${this.height}px;transform:scale(${this.scale})`;
    }
    this.percent.textContent = `${Math.round(this.scale * 100)}%`;
    this.percent.setAttribute('aria-label', t('Zoom: %1 percent. Press for the actual size.', Math.round(this.scale * 100)));
  }

  private onWheel(event: WheelEvent): void {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const box = this.window.getBoundingClientRect();
      this.zoom(this.scale * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    }
  }

  private onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const factor: { [key: string]: number } = { '+': STEP, '=': STEP, '-': 1 / STEP };
    if (event.key === '0') {
      this.fit();
    } else if (event.key in factor) {
      this.zoom(this.scale * (factor[event.key] ?? 1));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private onPress(press: PointerEvent): void {
    if (press.button !== 0 || press.pointerType === 'touch') {
      return;
    }
    const { scrollLeft, scrollTop } = this.window;
    let moved = false;
    const move = (event: PointerEvent): void => {
      const [x, y] = [event.clientX - press.clientX, event.clientY - press.clientY];
      moved ||= Math.abs(x) + Math.abs(y) > DRAG;
      if (moved) {
        this.window.classList.add('kfpm-dragged');
        this.window.scrollTo(scrollLeft - x, scrollTop - y);
      }
    };
    const end = (): void => {
      document.removeEventListener('pointermove', move);
      document.removeEventListener('pointerup', end);
      document.removeEventListener('pointercancel', end);
      this.window.classList.remove('kfpm-dragged');
      if (moved) {
        // The click that follows a drag selects nothing.
        this.window.addEventListener('click', stop, { capture: true, once: true });
        setTimeout(() => this.window.removeEventListener('click', stop, { capture: true }));
      }
    };
    document.addEventListener('pointermove', move);
    document.addEventListener('pointerup', end);
    document.addEventListener('pointercancel', end);
  }
}

function stop(event: Event): void {
  event.stopPropagation();
  event.preventDefault();
}
