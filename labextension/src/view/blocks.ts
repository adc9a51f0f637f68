/** The pieces that details are made of. */

import { element } from './dom';
import { t } from './i18n';
import { stateIcon } from './icons';
import { lasted, moment, stateWord, valueText, visible } from './text';
import type { Artifact, Failure, State, Task, Values } from './types';

/** A state in a word with its sign. */
export function stateMark(state: State): HTMLElement {
  return element('span', { class: 'kfpm-state', 'data-state': state }, stateIcon(state), stateWord(state));
}

/** Says why something failed: what, on which line of the cell, and what to do. */
export function errorBox(error: Failure, ...actions: HTMLElement[]): HTMLElement {
  const box = element('div', { class: 'kfpm-error', role: 'alert' }, element('strong', {}, visible(cut(error.message))));
  if (error.line !== null) {
    box.append(element('code', {}, `${t('line %1:', error.line)} ${visible(cut(error.text.trim()))}`));
  }
  if (error.hint !== '') {
    box.append(element('div', {}, visible(cut(error.hint))));
  }
  if (error.traceback.trim() !== '') {
    const frames = element('pre', { tabindex: '0' }, visible(error.traceback.trimEnd().slice(0, 20_000)));
    box.append(element('details', {}, element('summary', {}, t('Stack')), frames));
  }
  if (actions.length > 0) {
    box.append(element('div', { class: 'kfpm-actions' }, ...actions));
  }
  return box;
}

function cut(text: string): string {
  return text.length > 2000 ? `${text.slice(0, 1999)}…` : text;
}

/** What is to be said about how a task went, in short. */
export function shortFacts(task: Task, now: number): string {
  const attempt = task.attempt > 1 ? t('attempt %1', task.attempt) : '';
  return [lasted(task, now), attempt, visible(task.reason.slice(0, 300))].filter(one => one !== '').join(' · ');
}

/** Where, when and in what a task ran. */
export function longFacts(task: Task): HTMLElement[] {
  const rows: [string, string][] = [
    [t('Kind'), task.kind === 'step' ? '' : task.kind],
    [t('Started'), task.started === null ? '' : moment(task.started)],
    [t('Finished'), task.finished === null ? '' : moment(task.finished)],
    [t('Component'), task.component === task.name ? '' : task.component],
    [t('Image'), task.image]
  ];
  return listOf(rows.filter(([, text]) => text !== ''));
}

/** Names with a text each, or nothing when there are none. */
export function listOf(rows: readonly (readonly [string, string])[]): HTMLElement[] {
  const parts = rows.flatMap(([name, text]) => [element('dt', {}, name), element('dd', {}, visible(text))]);
  return parts.length === 0 ? [] : [element('dl', { class: 'kfpm-facts' }, ...parts)];
}

/** A table of names and values, or nothing when there are none. */
export function valueTable(caption: string, values: Values): HTMLElement[] {
  const rows = Object.entries(values).map(([name, value]) =>
    element('tr', {}, element('th', { scope: 'row' }, visible(name)), element('td', {}, valueText(value)))
  );
  return rows.length === 0 ? [] : [element('table', { class: 'kfpm-values' }, element('caption', {}, caption), ...rows)];
}

/** A table of artifacts with what was written beside them, or nothing when there are none. */
export function artifactTable(caption: string, artifacts: readonly Artifact[]): HTMLElement[] {
  const rows = artifacts.map(one =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, visible(one.name)),
      element('td', {}, shortType(one.type)),
      element('td', {}, metadataText(one)),
      element('td', { class: 'kfpm-quiet kfpm-uri', title: visible(one.uri) }, element('bdi', {}, visible(one.uri)))
    )
  );
  return rows.length === 0 ? [] : [element('table', { class: 'kfpm-values' }, element('caption', {}, caption), ...rows)];
}

/** An artifact's type without the vendor's prefix. */
export function shortType(type: string): string {
  return visible(type.replace(/^system\./, ''));
}

function metadataText(artifact: Artifact): string {
  return Object.entries(artifact.metadata)
    .filter(([key]) => key !== 'display_name')
    .map(([key, value]) => `${visible(key)} = ${valueText(value, 80)}`)
    .join('\n');
}
