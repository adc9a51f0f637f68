/** What can be done with runs, as commands: from the palette, the context menu, the open run. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { ApiError } from './api/client';
import { Commands, type IPipelines } from './tokens';
import { t, tn } from './view/i18n';
import { isPage } from './view/text';
import { canRetry, isFinal, type RunKind, type State } from './view/types';

/** What a command knows of the runs that it is about. */
interface About {
  ids: string[];
  state?: State;
  kind?: RunKind;
  url?: string;
  notebook?: string;
}

/** Adds the commands. */
export function addActions(app: JupyterFrontEnd, pipelines: IPipelines): void {
  const { client } = pipelines;
  const about = (args: ReadonlyPartialJSONObject): About => named(args) ?? underMenu(app) ?? { ids: [] };
  const add = (id: string, label: string, run: (what: About) => Promise<void>, fits: (what: About) => boolean): void => {
    app.commands.addCommand(id, {
      label,
      execute: args => reporting(() => run(about(args))),
      isVisible: args => args['id'] !== undefined || args['ids'] !== undefined || fits(about(args))
    });
  };
  const open = (id: string): Promise<void> => app.commands.execute(Commands.openRun, { id });
  add(Commands.cancel, t('Cancel'), ({ ids }) => each(ids, id => client.cancel(id)), ({ state }) => state !== undefined && !isFinal(state));
  add(Commands.retry, t('Retry'), ({ ids }) => each(ids, id => client.retry(id)), ({ state, kind }) => canRetry({ state, kind }));
  add(Commands.archive, t('Archive or take back'), ({ ids }) => each(ids, id => archive(pipelines, id)), ({ state }) => state !== undefined && isFinal(state));
  add(Commands.delete, t('Delete…'), ({ ids }) => remove(pipelines, ids), ({ state }) => state !== undefined && isFinal(state));
  add(Commands.copyId, t('Copy id'), async ({ ids }) => Clipboard.copyToSystem(ids.join('\n')), ({ ids }) => ids.length > 0);
  add(Commands.openUrl, t('Open in Kubeflow Pipelines'), ({ ids, url }) => openUrl(pipelines, ids[0], url), ({ url }) => isPage(url ?? ''));
  add(
    Commands.openNotebook,
    t('Open its notebook'),
    async ({ notebook }) => app.commands.execute(Commands.showCell, { notebook: notebook ?? '', cellId: '' }),
    ({ notebook }) => !!notebook
  );
  add(
    Commands.runAgain,
    t('Run again…'),
    async ({ ids }) => {
      const { runAgain } = await import('./form/again');
      const started = ids[0] === undefined ? undefined : await runAgain(client, ids[0]);
      return started === undefined ? undefined : open(started.id);
    },
    ({ ids, kind }) => ids.length > 0 && kind !== 'build'
  );
}

/** Does something and tells what the server says when it will not. */
export async function reporting(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    Notification.error([error.message, error.hint].filter(Boolean).join(' '), { autoClose: 10_000 });
  }
}

function named(args: ReadonlyPartialJSONObject): About | undefined {
  const { id, ids } = args;
  if (typeof id === 'string') {
    return { ids: [id] };
  }
  return Array.isArray(ids) ? { ids: ids.map(String) } : undefined;
}

function underMenu(app: JupyterFrontEnd): About | undefined {
  const node = app.contextMenuHitTest(one => one.dataset['kfpmRun'] !== undefined);
  const id = node?.dataset['kfpmRun'];
  if (node === undefined || id === undefined || id === '') {
    return undefined;
  }
  const { state, kind, url, notebook } = node.dataset;
  return { ids: [id], state: state as State | undefined, kind: kind as RunKind | undefined, url, notebook };
}

async function each(ids: readonly string[], act: (id: string) => Promise<unknown>): Promise<void> {
  for (const id of ids) {
    await act(id);
  }
}

async function archive({ client }: IPipelines, id: string): Promise<void> {
  const { archived } = await client.run(id);
  await client.archive(id, !archived);
}

async function remove({ client }: IPipelines, ids: readonly string[]): Promise<void> {
  const answer = await showDialog({
    title: tn('Delete this run?', 'Delete %1 runs?', ids.length),
    body: t('Its logs and artifacts on this machine are deleted with it. Archiving keeps them.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: t('Delete') })]
  });
  if (answer.button.accept) {
    await each(ids, id => client.delete(id));
  }
}

async function openUrl({ client }: IPipelines, id: string | undefined, known: string | undefined): Promise<void> {
  const url = known || (id === undefined ? '' : (await client.run(id)).url);
  if (isPage(url)) {
    window.open(url, '_blank', 'noopener');
  }
}
