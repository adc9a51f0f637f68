/** What the user set, typed, with defaults where the settings have not come yet. */

import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal } from '@lumino/signaling';

export interface Values {
  pollInterval: number;
  density: 'comfortable' | 'compact';
  notifications: 'all' | 'failed' | 'none';
  notifyAfter: number;
  badges: boolean;
}

const DEFAULTS: Values = {
  pollInterval: 15,
  density: 'comfortable',
  notifications: 'all',
  notifyAfter: 60,
  badges: true
};

export class Settings {
  readonly changed = new Signal<this, void>(this);
  private current: Values = DEFAULTS;

  get values(): Values {
    return this.current;
  }

  /** Follows what the registry says. */
  follow(settings: ISettingRegistry.ISettings): void {
    const read = (): void => {
      this.current = { ...DEFAULTS, ...(settings.composite as Partial<Values>) };
      this.changed.emit();
    };
    settings.changed.connect(read);
    read();
  }
}
