/** The side panel with the list of runs. */

import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';

import { pipelineIcon } from '../icons';
import { RunsPanel } from '../panel/panel';
import { Commands, IPipelines } from '../tokens';
import { t } from '../view/i18n';

export const panel: JupyterFrontEndPlugin<void> = {
  id: 'kfp-magics:panel',
  description: 'The side panel with the list of pipeline runs.',
  autoStart: true,
  requires: [IPipelines],
  optional: [ILayoutRestorer, ICommandPalette],
  activate: (app: JupyterFrontEnd, pipelines: IPipelines, restorer: ILayoutRestorer | null, palette: ICommandPalette | null) => {
    const widget = new RunsPanel(pipelines, app.commands);
    widget.id = 'kfp-magics-panel';
    widget.title.icon = pipelineIcon;
    widget.title.caption = t('Pipeline runs');
    widget.node.setAttribute('role', 'region');
    widget.node.setAttribute('aria-label', t('Pipeline runs'));
    app.shell.add(widget, 'left', { rank: 350 });
    restorer?.add(widget, widget.id);
    app.commands.addCommand(Commands.openPanel, {
      label: t('Show pipeline runs'),
      icon: pipelineIcon,
      execute: () => app.shell.activateById(widget.id)
    });
    palette?.addItem({ command: Commands.openPanel, category: t('Pipelines') });
  }
};
