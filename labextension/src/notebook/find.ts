/** Cells and notebooks, by what a run knows of them. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { Cell } from '@jupyterlab/cells';
import { NotebookPanel, type INotebookTracker } from '@jupyterlab/notebook';

/** Finds a cell of a notebook by its id. */
export function findCell(panel: NotebookPanel, cellId: string): Cell | undefined {
  return panel.content.widgets.find(cell => cell.model.id === cellId);
}

/**
 * Finds the notebook of a cell among those that are open, or opens it.
 *
 * @param path The notebook's path; it may be one that only the kernel knows, with folders above Jupyter's own.
 */
export async function findNotebook(
  app: JupyterFrontEnd,
  tracker: INotebookTracker,
  path: string,
  cellId: string
): Promise<NotebookPanel | undefined> {
  const open = tracker.filter(panel => panel.context.path === path || path.endsWith(`/${panel.context.path}`));
  const withCell = tracker.filter(panel => cellId !== '' && findCell(panel, cellId) !== undefined);
  const known = open.find(panel => withCell.includes(panel)) ?? open[0] ?? withCell[0];
  if (known !== undefined || path === '') {
    return known;
  }
  const opened: unknown = await app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
  if (!(opened instanceof NotebookPanel)) {
    return undefined;
  }
  await opened.revealed;
  await opened.context.ready;
  return opened;
}
