/** Pipelines in the notebook: badges on cells, buttons, the way from a failed step to its cell. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { buildIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { pipelineIcon } from '../icons';
import { build, canBecomeStep, makeStep, runPipeline, usesMagics } from '../notebook/author';
import { NotebookBadges } from '../notebook/badges';
import { showCell } from '../notebook/show';
import { Commands, IPipelines } from '../tokens';
import { t } from '../view/i18n';

export const notebook: JupyterFrontEndPlugin<void> = {
  id: 'kfp-magics:notebook',
  description: 'Badges on cells, and commands to author and run pipelines in a notebook.',
  autoStart: true,
  requires: [IPipelines, INotebookTracker],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, pipelines: IPipelines, tracker: INotebookTracker, palette: ICommandPalette | null) => {
    tracker.widgetAdded.connect((_, panel) => void new NotebookBadges(panel, pipelines, app.commands));
    const isFitting = (): boolean => tracker.currentWidget !== null && usesMagics(tracker.currentWidget);
    const add = (id: string, label: string, caption: string, act: (panel: NotebookPanel) => Promise<void>, options = {}): void => {
      app.commands.addCommand(id, {
        label,
        caption,
        ...options,
        execute: async () => {
          if (tracker.currentWidget !== null) {
            await act(tracker.currentWidget);
          }
        }
      });
      palette?.addItem({ command: id, category: t('Pipelines') });
    };
    const running = { icon: pipelineIcon, isVisible: isFitting };
    add(Commands.runPipeline, t('Run pipeline'), t('Run the pipeline of this notebook'), runPipeline, running);
    const building = { icon: buildIcon, isVisible: isFitting };
    add(Commands.build, t('Build images'), t('Build images of the steps that have changed'), build, building);
    // The cell under the menu is not yet the active one when the menu asks.
    const meant = ({ pointed }: ReadonlyPartialJSONObject): Cell | null | undefined => {
      const panel = tracker.currentWidget;
      const node = pointed === true ? app.contextMenuHitTest(one => one.classList.contains('jp-CodeCell')) : undefined;
      return node === undefined ? panel?.content.activeCell : panel?.content.widgets.find(cell => cell.node === node);
    };
    app.commands.addCommand(Commands.makeStep, {
      label: t('Make This Cell a Pipeline Step'),
      caption: t('Puts %%kfp_component on top of the cell'),
      isEnabled: args => canBecomeStep(meant(args)),
      execute: args => {
        const [panel, cell] = [tracker.currentWidget, meant(args)];
        if (panel !== null && cell !== null && cell !== undefined) {
          makeStep(panel, cell);
        }
      }
    });
    palette?.addItem({ command: Commands.makeStep, category: t('Pipelines') });
    app.commands.addCommand(Commands.showCell, {
      label: t('Show the cell of a step'),
      isVisible: () => false,
      execute: args =>
        showCell(app, tracker, {
          notebook: String(args['notebook'] ?? ''),
          cellId: String(args['cellId'] ?? ''),
          line: Number(args['line'] ?? 0)
        })
    });
    tracker.currentChanged.connect(() => {
      app.commands.notifyCommandChanged(Commands.runPipeline);
      app.commands.notifyCommandChanged(Commands.build);
    });
  }
};
