/** A comparison in the main area; it is drawn with what is loaded when the first one is opened. */

import type { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';

import { ApiError, type Client } from '../api/client';
import { element } from '../view/dom';

export class CompareDocument extends Widget {
  constructor(
    client: Client,
    commands: CommandRegistry,
    readonly ids: readonly string[]
  ) {
    super();
    this.addClass('kfpm-document');
    void this.load(client, commands);
  }

  private async load(client: Client, commands: CommandRegistry): Promise<void> {
    const { ComparePage } = await import('./page');
    try {
      this.node.replaceChildren(new ComparePage(await client.compare(this.ids), commands).node);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      const text = [error.message, error.hint].filter(Boolean).join(' ');
      this.node.replaceChildren(element('div', { class: 'kfpm-notice kfpm-trouble', role: 'alert' }, text));
    }
  }
}
