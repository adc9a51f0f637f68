/** One line of the list of runs. */

import type { RunRow } from '../api/types';
import type { Line } from '../model/runs';
import { element } from '../view/dom';
import { t, tn } from '../view/i18n';
import { stateIcon } from '../view/icons';
import { ago, asOf, fileName, lasted, moment, staleSince, starter, stateWord, visible } from '../view/text';
import { isFinal, type State } from '../view/types';

const LONG = 300; // characters of a name that are put into the page

/** Draws a line into its element, which changes only where it differs. */
export function drawLine(line: Line | undefined, node: HTMLElement, marks: LineMarks): void {
  if (line === undefined) {
    return;
  }
  const isGroup = line.kind === 'group';
  const text = isGroup ? line.value : (line.row?.id ?? '');
  setAll(node, {
    role: 'treeitem',
    id: marks.id,
    class: ['kfpm-row', isGroup ? 'kfpm-row-group' : '', marks.isActive ? 'kfpm-active' : ''].filter(Boolean).join(' '),
    'aria-level': String(isGroup ? 1 : line.depth + 1),
    'aria-selected': String(marks.isSelected),
    'aria-expanded': isGroup ? String(line.isOpen) : undefined,
    'aria-posinset': isGroup ? undefined : String(line.at + 1),
    'aria-setsize': isGroup ? undefined : String(line.of),
    'data-kfpm-run': isGroup ? undefined : text,
    'data-state': isGroup ? undefined : line.row?.state,
    'data-stale': isGroup || line.row === undefined || staleSince(line.row) === '' ? undefined : '',
    'data-kind': isGroup ? undefined : line.row?.kind,
    'data-url': isGroup ? undefined : line.row?.url,
    'data-notebook': isGroup ? undefined : line.row?.notebook_path || line.row?.notebook
  });
  const key = isGroup ? JSON.stringify([line, marks.grouping]) : rowKey(line.row, marks);
  if (node.dataset['key'] !== key) {
    node.dataset['key'] = key;
    node.replaceChildren(...(isGroup ? groupParts(line, marks.grouping) : rowParts(line.row, marks)));
    node.title = isGroup || line.row === undefined ? '' : hint(line.row);
  }
}

export interface LineMarks {
  id: string;
  isActive: boolean;
  isSelected: boolean;
  isCompact: boolean;
  grouping: string;
  now: number;
}

function rowKey(row: RunRow | undefined, marks: LineMarks): string {
  if (row === undefined) {
    return '';
  }
  const time = isFinal(row.state) ? ago(row.created, marks.now) : Math.floor(marks.now);
  return JSON.stringify([row.id, row.revision, row.state, row.name, row.progress.done, time, marks.isCompact, marks.isSelected, marks.grouping]);
}

function groupParts(line: Line & { kind: 'group' }, grouping: string): Node[] {
  const isState = grouping === 'state';
  const name = isState ? stateWord(line.value as State) : grouping === 'notebook' ? fileName(line.value) : line.value;
  return [
    element('span', { class: 'kfpm-twist', 'aria-hidden': 'true' }, line.isOpen ? '▾' : '▸'),
    ...(isState ? [stateIcon(line.value as State)] : []),
    element('span', { class: 'kfpm-row-title' }, visible(name.slice(0, LONG)) || t('(none)')),
    element('span', { class: 'kfpm-count' }, String(line.count))
  ];
}

function rowParts(row: RunRow | undefined, marks: LineMarks): Node[] {
  if (row === undefined) {
    return [element('span', { class: 'kfpm-row-wait', 'aria-label': t('loading') })];
  }
  const name = element('span', { class: 'kfpm-row-title' }, visible(row.name.slice(0, LONG)) || row.id);
  const took = lasted(row, asOf(row, marks.now));
  const kind = row.kind === 'build' ? t('image build') : row.kind === 'try' ? t('trial') : row.pipeline;
  // A name that nobody chose says the pipeline already, and so does the head of its group.
  const isSaid = row.name.startsWith(kind) || marks.grouping === 'pipeline';
  const sub = [staleSince(row), isSaid ? '' : kind, starter(row), ago(row.created, marks.now)];
  const progress = isFinal(row.state) && row.state === 'succeeded' ? '' : `${row.progress.done}/${row.progress.total}`;
  const steps = staleSince(row) === '' ? progress : t('stale');
  const mark = element('span', { class: 'kfpm-row-sign' }, stateIcon(row.state), element('span', { class: 'kfpm-news' }, stateWord(row.state)));
  const side = element('span', { class: 'kfpm-row-side' }, element('span', {}, took), element('span', { class: 'kfpm-quiet' }, steps));
  const below = element('span', { class: 'kfpm-row-sub' }, visible(sub.filter(Boolean).join(' · ').slice(0, LONG)));
  const main = element('span', { class: 'kfpm-row-main' }, name, ...(marks.isCompact ? [] : [below]));
  const bar = element('span', { class: 'kfpm-row-bar' });
  bar.style.setProperty('--kfpm-done', String(row.progress.done / Math.max(1, row.progress.total)));
  return [mark, main, side, ...(isFinal(row.state) ? [] : [bar])];
}

function hint(row: RunRow): string {
  const { total } = row.progress;
  const progress = row.kind === 'build' ? tn('%1 image', '%1 images', total) : tn('%1 step', '%1 steps', total);
  const state = `${stateWord(row.state)} · ${progress}`;
  const lines = [row.name, row.pipeline, state, staleSince(row), moment(row.created), row.error, row.notebook];
  return lines
    .filter(Boolean)
    .map(line => visible(line.slice(0, LONG)))
    .join('\n');
}

function setAll(node: HTMLElement, attributes: { [name: string]: string | undefined }): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) {
      node.removeAttribute(name);
    } else if (node.getAttribute(name) !== value) {
      node.setAttribute(name, value);
    }
  }
}
