/** Search in a log: the server looks through all of it, the matches are gone through one by one. */

import type { LogMatch } from '../api/types';
import { element } from '../view/dom';
import { t } from '../view/i18n';

export interface SearchCallbacks {
  /** Finds matches from a byte on. */
  find(text: string, offset: number): Promise<{ matches: LogMatch[]; next: number | null }>;
  /** Shows a match, or none. */
  onMatch(text: string, match: LogMatch | undefined): void;
}

export class LogSearch {
  readonly node: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly count = element('span', { class: 'kfpm-quiet', role: 'status' });
  private text = '';
  private matches: LogMatch[] = [];
  private next: number | null = null;
  private at = -1;
  private asked = 0;

  constructor(private readonly callbacks: SearchCallbacks) {
    const label = t('Search the log');
    this.input = element('input', { type: 'search', class: 'jp-mod-styled', placeholder: label, 'aria-label': label });
    this.input.addEventListener('keydown', event => {
      if (event.key === 'Enter') {
        event.preventDefault();
        void this.go(event.shiftKey ? -1 : 1);
      }
    });
    this.input.addEventListener('input', () => {
      if (this.input.value === '') {
        void this.go(1);
      }
    });
    const button = (text: string, name: string, step: number): HTMLElement => {
      const made = element('button', { type: 'button', class: 'kfpm-button', 'aria-label': name, title: name }, text);
      made.addEventListener('click', () => void this.go(step));
      return made;
    };
    const [before, after] = [button('↑', t('Previous match'), -1), button('↓', t('Next match'), 1)];
    this.node = element('div', { class: 'kfpm-log-search' }, this.input, before, after, this.count);
  }

  private async go(step: number): Promise<void> {
    if (this.input.value !== this.text) {
      this.text = this.input.value;
      this.matches = [];
      this.next = 0;
      this.at = step > 0 ? -1 : 0;
    }
    if (this.text === '') {
      this.count.textContent = '';
      this.callbacks.onMatch('', undefined);
      return;
    }
    if (this.at + step >= this.matches.length && this.next !== null) {
      await this.more();
    }
    if (this.matches.length > 0) {
      this.at = (this.at + step + this.matches.length) % this.matches.length;
    }
    const many = this.next === null ? '' : '+';
    this.count.textContent = this.matches.length === 0 ? t('none') : `${this.at + 1}/${this.matches.length}${many}`;
    this.callbacks.onMatch(this.text, this.matches[this.at]);
  }

  private async more(): Promise<void> {
    this.asked += 1;
    const asked = this.asked;
    const found = await this.callbacks.find(this.text, this.next ?? 0);
    if (asked === this.asked) {
      this.matches.push(...found.matches);
      this.next = found.next;
    }
  }
}
