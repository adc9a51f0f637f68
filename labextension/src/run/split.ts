/** Two panes with a bar between them that is dragged, or moved with the arrow keys. */

import { element } from '../view/dom';
import { t } from '../view/i18n';

const NARROW = 720; // pixels under which the panes stand one above the other
const KEY_STEP = 0.03;

export class Split {
  readonly node: HTMLElement;
  private readonly bar = element('div', { class: 'kfpm-split-bar', role: 'separator', tabindex: '0' });
  private share = 0.56;

  constructor(first: HTMLElement, second: HTMLElement) {
    this.node = element('div', { class: 'kfpm-split' }, first, this.bar, second);
    this.bar.setAttribute('aria-label', t('Size of the panes'));
    this.bar.addEventListener('pointerdown', event => this.onPress(event));
    this.bar.addEventListener('keydown', event => this.onKey(event));
    this.resize(0);
  }

  /** Puts the panes beside each other where there is room. */
  resize(width: number): void {
    const isStacked = width > 0 && width < NARROW;
    this.node.classList.toggle('kfpm-stacked', isStacked);
    this.bar.setAttribute('aria-orientation', isStacked ? 'horizontal' : 'vertical');
    this.apply();
  }

  private apply(): void {
    this.share = Math.min(0.85, Math.max(0.15, this.share));
    this.node.style.setProperty('--kfpm-share', `${100 * this.share}%`);
    this.bar.setAttribute('aria-valuenow', String(Math.round(100 * this.share)));
  }

  private onPress(press: PointerEvent): void {
    const box = this.node.getBoundingClientRect();
    const isStacked = this.node.classList.contains('kfpm-stacked');
    this.bar.setPointerCapture(press.pointerId);
    const move = (event: PointerEvent): void => {
      this.share = isStacked ? (event.clientY - box.top) / box.height : (event.clientX - box.left) / box.width;
      this.apply();
    };
    this.bar.addEventListener('pointermove', move);
    this.bar.addEventListener('lostpointercapture', () => this.bar.removeEventListener('pointermove', move), { once: true });
    press.preventDefault();
  }

  private onKey(event: KeyboardEvent): void {
    const steps: { [key: string]: number } = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const step = steps[event.key];
    if (step !== undefined) {
      this.share += step * KEY_STEP;
      this.apply();
      event.preventDefault();
      event.stopPropagation();
    }
  }
}
