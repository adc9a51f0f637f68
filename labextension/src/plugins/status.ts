/** A line in the status bar, and a word when a long run ends. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import type { RunRow } from '../api/types';
import { pipelineIcon } from '../icons';
import { StatusModel } from '../model/status';
import { Commands, IPipelines } from '../tokens';
import { element } from '../view/dom';
import { t, tn } from '../view/i18n';
import { lasted, stateWord, visible } from '../view/text';

export const status: JupyterFrontEndPlugin<void> = {
  id: 'kfp-magics:status',
  description: 'Pipeline runs in the status bar and in notifications.',
  autoStart: true,
  requires: [IPipelines],
  optional: [IStatusBar],
  activate: (app: JupyterFrontEnd, pipelines: IPipelines, statusBar: IStatusBar | null) => {
    const model = new StatusModel(pipelines.client);
    pipelines.feed.listen(model);
    model.ended.connect((_, row) => tell(app, pipelines, row));
    if (statusBar !== null) {
      addItem(app, statusBar, model);
    }
    void app.started.then(() => model.refresh()).catch(() => undefined); // the panel tells when the server is not there
  }
};

function addItem(app: JupyterFrontEnd, statusBar: IStatusBar, model: StatusModel): void {
  const button = element('button', { type: 'button', class: 'kfpm-status' });
  button.addEventListener('click', () => void app.commands.execute(Commands.openPanel));
  const item = new Widget();
  item.addClass('kfpm-status-item');
  item.node.append(button);
  const changes = new Signal<StatusModel, void>(model);
  const text = (): string[] => {
    const { running = 0, pending = 0, failed = 0 } = model.counts;
    const busy = running + pending;
    return [busy > 0 ? tn('%1 running', '%1 running', busy) : '', failed > 0 ? tn('%1 failed', '%1 failed', failed) : ''].filter(Boolean);
  };
  model.changed.connect(() => {
    const words = text().join(', ');
    button.replaceChildren(pipelineIcon.element({ tag: 'span', width: '15px', height: '15px' }), words);
    button.setAttribute('aria-label', t('Pipeline runs: %1', words));
    button.title = t('Show pipeline runs');
    changes.emit();
  });
  statusBar.registerStatusItem('kfp-magics:status', {
    item,
    align: 'left',
    rank: 10,
    isActive: () => text().length > 0,
    activeStateChanged: changes
  });
}

function tell(app: JupyterFrontEnd, { settings }: IPipelines, row: RunRow): void {
  const { notifications, notifyAfter } = settings.values;
  const seconds = (row.finished ?? 0) - (row.started ?? row.created);
  if (notifications === 'none' || (notifications === 'failed' && row.state !== 'failed') || seconds < notifyAfter) {
    return;
  }
  const message = `${visible(row.name.slice(0, 80))} ${stateWord(row.state)} (${lasted(row, row.finished ?? 0)})`;
  const actions = [{ label: t('Open'), callback: () => void app.commands.execute(Commands.openRun, { id: row.id }) }];
  const kind = row.state === 'failed' ? 'error' : row.state === 'succeeded' ? 'success' : 'info';
  Notification.emit(message, kind, { actions, autoClose: row.state === 'failed' ? false : 8000 });
}
