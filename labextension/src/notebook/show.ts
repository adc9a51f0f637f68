/** Shows the cell that a step came from, and the line where it failed. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { INotebookTracker } from '@jupyterlab/notebook';

import { t } from '../view/i18n';
import { findCell, findNotebook } from './find';
import { markLine } from './mark';

/** Scrolls a notebook to a cell, marks the line, and gives it the keyboard. */
export async function showCell(
  app: JupyterFrontEnd,
  tracker: INotebookTracker,
  { notebook, cellId, line }: { notebook: string; cellId: string; line: number }
): Promise<void> {
  const panel = await findNotebook(app, tracker, notebook, cellId);
  if (panel === undefined) {
    Notification.warning(t('The notebook of this step is not open, and its path is not known here.'), { autoClose: 8000 });
    return;
  }
  app.shell.activateById(panel.id);
  if (cellId === '') {
    return;
  }
  const cell = findCell(panel, cellId);
  if (cell === undefined) {
    Notification.warning(t('The cell of this step is no longer in %1.', panel.context.path), { autoClose: 8000 });
    return;
  }
  panel.content.activeCellIndex = panel.content.widgets.indexOf(cell);
  panel.content.deselectAll();
  await panel.content.scrollToCell(cell, 'center');
  await cell.ready;
  if (line > 0) {
    markLine(cell, line);
  }
  panel.content.mode = 'edit';
  cell.editor?.focus();
}
