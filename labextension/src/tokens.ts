/** What the parts of the extension share. */

import { Token } from '@lumino/coreutils';

import type { Client } from './api/client';
import type { Feed } from './model/feed';
import type { Settings } from './model/settings';

/** The server, the news from it, and what the user set. */
export interface IPipelines {
  readonly client: Client;
  readonly feed: Feed;
  readonly settings: Settings;
}

export const IPipelines = new Token<IPipelines>('kfp-magics:IPipelines', 'Runs of pipelines: the server and its news.');

/** The names of all commands. */
export const Commands = {
  openPanel: 'kfp-magics:open-panel',
  openRun: 'kfp-magics:open-run',
  compare: 'kfp-magics:compare',
  cancel: 'kfp-magics:cancel',
  retry: 'kfp-magics:retry',
  runAgain: 'kfp-magics:run-again',
  archive: 'kfp-magics:archive',
  delete: 'kfp-magics:delete',
  openUrl: 'kfp-magics:open-url',
  openNotebook: 'kfp-magics:open-notebook',
  copyId: 'kfp-magics:copy-id',
  showCell: 'kfp-magics:show-cell',
  runPipeline: 'kfp-magics:run-pipeline',
  build: 'kfp-magics:build',
  makeStep: 'kfp-magics:make-step',
  runFile: 'kfp-magics:run-file'
} as const;
