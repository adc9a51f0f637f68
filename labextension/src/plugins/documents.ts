/** Runs and comparisons in the main area; they stay where they are when the page is loaded again. */

import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { Widget } from '@lumino/widgets';

import { reporting } from '../actions';
import { CompareDocument } from '../compare/document';
import { pipelineIcon } from '../icons';
import { RunDocument } from '../run/document';
import { Commands, IPipelines } from '../tokens';
import { t } from '../view/i18n';
import { stateWord, visible } from '../view/text';

export const documents: JupyterFrontEndPlugin<void> = {
  id: 'kfp-magics:documents',
  description: 'Opens runs and comparisons of runs.',
  autoStart: true,
  requires: [IPipelines, IRenderMimeRegistry],
  optional: [ILayoutRestorer, ICommandPalette, ILabShell, IFileBrowserFactory],
  activate: (
    app: JupyterFrontEnd,
    pipelines: IPipelines,
    rendermime: IRenderMimeRegistry,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    labShell: ILabShell | null,
    files: IFileBrowserFactory | null
  ) => {
    const runs = new WidgetTracker<MainAreaWidget<RunDocument>>({ namespace: 'kfp-magics-runs' });
    const comparisons = new WidgetTracker<MainAreaWidget<CompareDocument>>({ namespace: 'kfp-magics-comparisons' });
    const show = <T extends Widget>(tracker: WidgetTracker<MainAreaWidget<T>>, widget: MainAreaWidget<T>): void => {
      widget.title.icon = pipelineIcon;
      widget.toolbar.hide();
      // Beside the notebook that is being worked on, and where runs are open already.
      const beside = [runs, comparisons].map(one => one.currentWidget).find(one => one?.isAttached === true);
      const place = beside ? { mode: 'tab-after' as const, ref: beside.id } : { mode: 'split-right' as const };
      // The main area of Jupyter Notebook has room for the notebook only.
      app.shell.add(widget, labShell === null ? 'right' : 'main', place);
      void tracker.add(widget);
      app.shell.activateById(widget.id);
    };
    const open = async (args: ReadonlyPartialJSONObject): Promise<void> => {
      const pointed = args['isPalette'] === true ? undefined : underMenu(app);
      const id = typeof args['id'] === 'string' ? args['id'] : (pointed ?? (await askForRun(pipelines)));
      if (id === undefined || id === '') {
        return;
      }
      const known = runs.find(one => one.content.runId === id);
      const opened = known ?? openRun(app, pipelines, rendermime, id);
      if (known === undefined) {
        show(runs, opened);
      } else {
        app.shell.activateById(known.id);
      }
      if (typeof args['task'] === 'string') {
        opened.content.select(args['task']);
      }
    };
    app.commands.addCommand(Commands.openRun, {
      label: args => (args['isPalette'] === true ? t('Open a run…') : t('Open')),
      execute: args => reporting(() => open(args))
    });
    app.commands.addCommand(Commands.compare, {
      label: t('Compare'),
      isVisible: args => Array.isArray(args['ids']),
      execute: args => {
        const ids = Array.isArray(args['ids']) ? args['ids'].map(String) : [];
        const content = new CompareDocument(pipelines.client, app.commands, ids);
        const widget = new MainAreaWidget({ content });
        widget.title.label = t('Compare %1 runs', ids.length);
        show(comparisons, widget);
      }
    });
    app.commands.addCommand(Commands.runFile, {
      label: t('Run as pipeline…'),
      icon: pipelineIcon,
      execute: args => {
        const selected = files?.tracker.currentWidget?.selectedItems().next().value?.path;
        const path = typeof args['path'] === 'string' ? args['path'] : selected;
        return path === undefined ? undefined : reporting(() => runFile(app, pipelines, path));
      }
    });
    palette?.addItem({ command: Commands.openRun, category: t('Pipelines'), args: { isPalette: true } });
    void restorer?.restore(runs, {
      command: Commands.openRun,
      args: widget => ({ id: widget.content.runId }),
      name: widget => widget.content.runId
    });
    void restorer?.restore(comparisons, {
      command: Commands.compare,
      args: widget => ({ ids: [...widget.content.ids] }),
      name: widget => widget.content.ids.join(' ')
    });
  }
};

function openRun(
  app: JupyterFrontEnd,
  pipelines: IPipelines,
  rendermime: IRenderMimeRegistry,
  id: string
): MainAreaWidget<RunDocument> {
  const content = new RunDocument(pipelines, app.commands, rendermime, id);
  const widget = new MainAreaWidget({ content });
  widget.title.label = id;
  content.model.changed.connect(({ run }) => {
    if (run !== undefined) {
      widget.title.label = visible(run.name.slice(0, 100));
      widget.title.caption = `${visible(run.name.slice(0, 300))}\n${stateWord(run.state)}`;
    }
  });
  return widget;
}

function underMenu(app: JupyterFrontEnd): string | undefined {
  return app.contextMenuHitTest(node => node.dataset['kfpmRun'] !== undefined)?.dataset['kfpmRun'];
}

async function askForRun({ client }: IPipelines): Promise<string | undefined> {
  const { runs } = await client.runs({ limit: 50 });
  const items = runs.map(run => `${run.name} · ${stateWord(run.state)}`);
  const answer = await InputDialog.getItem({ title: t('Which run?'), items, okLabel: t('Open') });
  return answer.value === null ? undefined : runs[items.indexOf(answer.value)]?.id;
}

async function runFile(app: JupyterFrontEnd, { client }: IPipelines, path: string): Promise<void> {
  const file = await app.serviceManager.contents.get(path, { content: true, type: 'file', format: 'text' });
  const { runCompiled } = await import('../form/again');
  const started = await runCompiled(client, String(file.content));
  if (started !== undefined) {
    await app.commands.execute(Commands.openRun, { id: started.id });
  }
}
