/** The server, its news and the settings: what all other plugins use. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator } from '@jupyterlab/translation';

import { addActions } from '../actions';
import { Client } from '../api/client';
import { Feed } from '../model/feed';
import { Settings } from '../model/settings';
import { IPipelines } from '../tokens';
import { translateWith } from '../view/i18n';

export const core: JupyterFrontEndPlugin<IPipelines> = {
  id: 'kfp-magics:plugin',
  description: 'Runs of Kubeflow Pipelines: the server and its news.',
  autoStart: true,
  provides: IPipelines,
  optional: [ISettingRegistry, ITranslator],
  activate: (app: JupyterFrontEnd, registry: ISettingRegistry | null, translator: ITranslator | null): IPipelines => {
    if (translator !== null) {
      translateWith(translator.load('kfp_magics'));
    }
    const settings = new Settings();
    const { serverSettings, events } = app.serviceManager;
    const feed = new Feed(events.stream, settings.values.pollInterval * 1000);
    settings.changed.connect(() => (feed.interval = settings.values.pollInterval * 1000));
    registry?.load('kfp-magics:plugin').then(
      loaded => settings.follow(loaded),
      (reason: unknown) => console.warn('Settings of kfp-magics cannot be read; defaults are used.', reason)
    );
    const pipelines = { client: new Client(serverSettings), feed, settings };
    addActions(app, pipelines);
    return pipelines;
  }
};
