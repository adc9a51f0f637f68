/** The run as a whole: what it was given, what it gave, what its steps measured. */

import { errorBox, listOf, valueTable } from '../view/blocks';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { moment, starter, trigger, visible } from '../view/text';
import type { Run, Task, Values } from '../view/types';

export class RunPane {
  readonly node = element('section', { class: 'kfpm-pane', 'aria-label': t('The run') });
  private readonly title = element('h3', {}, t('Run'));
  private readonly body = element('div', { class: 'kfpm-tab-page', tabindex: '0' });
  private drawn = '';

  constructor(private readonly onSelect: (taskId: string) => void) {
    this.node.append(element('header', {}, this.title), this.body);
  }

  /** Shows the run as it stands now. */
  update(run: Run): void {
    const measured = run.tasks.filter(task => metricsOf(task).length > 0);
    const images = run.tasks.filter(task => task.kind === 'image');
    const told = [...measured.map(task => [task.id, task.artifacts]), ...images.map(task => [task.id, task.image])];
    const key = JSON.stringify([{ ...run, tasks: told }]);
    if (key === this.drawn) {
      return;
    }
    this.drawn = key;
    this.title.textContent = run.kind === 'build' ? t('Image build') : t('Run');
    this.body.replaceChildren(
      ...(run.error === null ? [] : [errorBox(run.error)]),
      ...valueTable(t('Parameters'), run.parameters),
      ...valueTable(t('Results'), run.outputs),
      ...this.images(images),
      ...this.metrics(measured),
      ...facts(run)
    );
  }

  /** What a build has made: the name of each image, by its digest, as soon as there is one. */
  private images(tasks: readonly Task[]): HTMLElement[] {
    const rows = tasks.map(task => {
      const name = element('th', { scope: 'row' }, this.link(task));
      return element('tr', {}, name, element('td', {}, visible(task.image.slice(0, 1000)) || '–'));
    });
    return rows.length === 0 ? [] : [element('table', { class: 'kfpm-values' }, element('caption', {}, t('Images')), ...rows)];
  }

  private link(task: Task): HTMLElement {
    const link = element('button', { type: 'button', class: 'kfpm-link' }, visible(task.id));
    link.addEventListener('click', () => this.onSelect(task.id));
    return link;
  }

  private metrics(tasks: readonly Task[]): HTMLElement[] {
    const rows = tasks.flatMap(task =>
      metricsOf(task).map(([name, value]) =>
        element('tr', {}, element('th', { scope: 'row' }, this.link(task)), element('td', {}, name), element('td', {}, value))
      )
    );
    return rows.length === 0 ? [] : [element('table', { class: 'kfpm-values' }, element('caption', {}, t('Metrics')), ...rows)];
  }
}

function metricsOf(task: Task): [string, string][] {
  const plain = (values: Values): [string, string][] =>
    Object.entries(values).flatMap(([name, value]) =>
      typeof value === 'number' ? [[visible(name), String(Number(value.toPrecision(6)))] as [string, string]] : []
    );
  return task.artifacts.filter(one => one.io === 'output' && one.type.endsWith('Metrics')).flatMap(one => plain(one.metadata));
}

function facts(run: Run): HTMLElement[] {
  const rows: [string, string][] = [
    [t('Pipeline'), run.pipeline],
    [t('Experiment'), run.experiment],
    [t('Started by'), trigger(run) || starter(run)],
    [t('Notebook'), run.notebook],
    [t('Created'), moment(run.created)],
    [t('Finished'), run.finished === null ? '' : moment(run.finished)],
    [t('Attempt'), run.attempt > 1 ? String(run.attempt) : ''],
    // A build is no run of a backend: its target is the registry.
    run.kind === 'build'
      ? [t('Images go to'), run.target]
      : [t('Runs on'), [run.backend, run.target].filter(Boolean).join(' · ')],
    [t('Id'), run.id]
  ];
  return listOf(rows.filter(([, text]) => text !== ''));
}
