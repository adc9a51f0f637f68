/** What the notebook's buttons do: they write visible cells and run those, and nothing else. */

import { InputDialog, Notification } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';

import { t } from '../view/i18n';

const PIPELINE = /^%%kfp_pipeline\b/;
const USES_MAGICS = /^\s*(%load_ext kfp_magics|%%?kfp_)/m;

/** Whether a notebook has anything to do with pipelines. */
export function usesMagics(panel: NotebookPanel): boolean {
  return sources(panel).some(source => USES_MAGICS.test(source));
}

/** Whether a cell can become a step. */
export function canBecomeStep(cell: Cell | null | undefined): boolean {
  const source = cell?.model.type === 'code' ? cell.model.sharedModel.getSource() : '';
  return source.trim() !== '' && !source.trimStart().startsWith('%%');
}

/** Puts the magic's line on top of a cell; a cell that defines no function gets a name to change. */
export function makeStep(panel: NotebookPanel, cell: Cell): void {
  if (!canBecomeStep(cell)) {
    return;
  }
  const source = cell.model.sharedModel.getSource();
  const line = /^(async )?def \w+/m.test(source) ? '%%kfp_component' : '%%kfp_component my_step';
  cell.model.sharedModel.setSource(`${line}\n${source}`);
  panel.content.activeCellIndex = panel.content.widgets.indexOf(cell);
  panel.content.mode = 'edit';
  const start = { line: 0, column: '%%kfp_component'.length + (line.endsWith('my_step') ? 1 : 0) };
  cell.editor?.setSelection({ start, end: { line: 0, column: line.length } });
  cell.editor?.focus();
}

/** Runs a pipeline of the notebook: the cell that does so, or a new one below the pipeline. */
export async function runPipeline(panel: NotebookPanel): Promise<void> {
  const pipelines = sources(panel).flatMap((source, at) => {
    const name = PIPELINE.test(source) ? /^def (\w+)/m.exec(source)?.[1] : undefined;
    return name === undefined ? [] : [{ name, at }];
  });
  const active = pipelines.find(one => one.at === panel.content.activeCellIndex);
  const chosen = active ?? (await choose(pipelines));
  if (pipelines.length === 0) {
    Notification.info(t('This notebook has no %%kfp_pipeline cell yet.'), { autoClose: 6000 });
  } else if (chosen !== undefined) {
    const isRun = new RegExp(`^%kfp_run ${chosen.name}\\b`, 'm');
    await runCell(panel, source => isRun.test(source), chosen.at, `%kfp_run ${chosen.name}`);
  }
}

/** Builds the images of the notebook's steps. */
export async function build(panel: NotebookPanel): Promise<void> {
  const steps = sources(panel).flatMap((source, at) => (/^%%?kfp_component\b/m.test(source) ? [at] : []));
  if (steps.length === 0) {
    Notification.info(t('This notebook has no %%kfp_component cell yet.'), { autoClose: 6000 });
    return;
  }
  await runCell(panel, source => /^%kfp_build\b/m.test(source), steps[steps.length - 1] ?? 0, '%kfp_build');
}

async function choose<T extends { name: string }>(pipelines: readonly T[]): Promise<T | undefined> {
  if (pipelines.length < 2) {
    return pipelines[0];
  }
  const items = pipelines.map(one => one.name);
  const answer = await InputDialog.getItem({ title: t('Which pipeline?'), items, okLabel: t('Run') });
  return pipelines.find(one => one.name === answer.value);
}

async function runCell(panel: NotebookPanel, isIt: (source: string) => boolean, below: number, text: string): Promise<void> {
  const { content } = panel;
  const known = sources(panel).findIndex(isIt);
  content.activeCellIndex = known >= 0 ? known : below;
  if (known < 0) {
    NotebookActions.insertBelow(content);
    content.activeCell?.model.sharedModel.setSource(text);
  }
  content.deselectAll();
  await NotebookActions.run(content, panel.sessionContext);
}

function sources(panel: NotebookPanel): string[] {
  return panel.content.widgets.map(cell => (cell.model.type === 'code' ? cell.model.sharedModel.getSource() : ''));
}
