/** Tabs as the ARIA pattern has them: one in the tab order, the arrow keys go to the others. */

import { element } from './dom';

export interface Tab {
  id: string;
  label: string;
  node: HTMLElement;
}

let made = 0;

export class Tabs {
  readonly list = element('div', { class: 'kfpm-tabs', role: 'tablist' });
  readonly body = element('div', { class: 'kfpm-tab-body' });
  private readonly buttons = new Map<string, HTMLElement>();
  private shown = '';

  constructor(
    label: string,
    private readonly tabs: readonly Tab[],
    private readonly onShow: (id: string) => void = () => undefined
  ) {
    this.list.setAttribute('aria-label', label);
    for (const tab of tabs) {
      made += 1;
      const id = `kfpm-tab-${made}`;
      const button = element('button', { type: 'button', role: 'tab', id, 'data-tab': tab.id }, tab.label);
      button.addEventListener('click', () => this.show(tab.id));
      tab.node.setAttribute('role', 'tabpanel');
      tab.node.setAttribute('aria-labelledby', id);
      this.buttons.set(tab.id, button);
      this.list.append(button);
    }
    this.list.addEventListener('keydown', event => this.onKey(event));
    this.show(tabs[0]?.id ?? '');
  }

  get current(): string {
    return this.shown;
  }

  /** Shows a tab. */
  show(id: string): void {
    const tab = this.tabs.find(one => one.id === id);
    if (tab === undefined || id === this.shown) {
      return;
    }
    this.shown = id;
    for (const [name, button] of this.buttons) {
      button.setAttribute('aria-selected', String(name === id));
      button.tabIndex = name === id ? 0 : -1;
    }
    this.body.replaceChildren(tab.node);
    this.onShow(id);
  }

  /** Changes what stands on a tab. */
  label(id: string, text: string): void {
    const button = this.buttons.get(id);
    if (button !== undefined && button.textContent !== text) {
      button.textContent = text;
    }
  }

  /** Offers only some of the tabs. */
  offer(isOffered: (id: string) => boolean): void {
    for (const [id, button] of this.buttons) {
      button.hidden = !isOffered(id);
    }
    if (!isOffered(this.shown)) {
      this.show(this.offered()[0] ?? '');
    }
  }

  private offered(): string[] {
    return this.tabs.map(tab => tab.id).filter(id => this.buttons.get(id)?.hidden === false);
  }

  private onKey(event: KeyboardEvent): void {
    const ids = this.offered();
    const here = ids.indexOf(this.shown);
    const next: { [key: string]: number } = {
      ArrowLeft: (here + ids.length - 1) % ids.length,
      ArrowRight: (here + 1) % ids.length,
      Home: 0,
      End: ids.length - 1
    };
    const id = ids[next[event.key] ?? -1];
    if (id !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      this.show(id);
      this.buttons.get(id)?.focus();
    }
  }
}
