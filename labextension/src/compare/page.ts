/** Two or more runs beside each other: what they were given, what they measured, how long it took, which code ran. */

import type { CommandRegistry } from '@lumino/commands';

import type { ComparedRow, Comparison, RunRow } from '../api/types';
import { Commands } from '../tokens';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { stateIcon } from '../view/icons';
import { duration, moment, stateWord, valueText, visible } from '../view/text';
import type { Json, State } from '../view/types';

type Show = (value: Json) => (Node | string)[];

export class ComparePage {
  readonly node = element('div', { class: 'kfpm-page kfpm-run kfpm-compare', tabindex: '0' });
  private readonly onlyDifferent = element('input', { type: 'checkbox' });
  private readonly body = element('div');

  constructor(
    private readonly comparison: Comparison,
    private readonly commands: CommandRegistry
  ) {
    this.onlyDifferent.checked = true;
    this.onlyDifferent.addEventListener('change', () => this.draw());
    const label = element('label', { class: 'kfpm-check' }, this.onlyDifferent, t('Only what differs'));
    const title = element('h2', {}, t('Comparison of %1 runs', comparison.runs.length));
    this.node.append(element('header', { class: 'kfpm-page-top' }, title, label), this.body);
    this.draw();
  }

  private draw(): void {
    const { parameters, metrics, states, durations, images, sources } = this.comparison;
    const seconds: Show = value => [typeof value === 'number' ? duration(value) : valueText(value)];
    const state: Show = value => [stateIcon(value as State), ' ', stateWord(value as State)];
    const groups = [
      ...this.group(t('Parameters'), parameters, value => [valueText(value)]),
      ...this.group(t('Metrics'), metrics, value => [numberText(value)], true),
      ...this.group(t('States'), states, state),
      ...this.group(t('Durations'), durations, seconds, true),
      ...this.group(t('Images'), images, value => [valueText(value)])
    ];
    const columns = this.comparison.runs.map(run => element('th', { scope: 'col' }, this.heading(run)));
    const head = element('thead', {}, element('tr', {}, element('td'), ...columns));
    const table = element('table', { class: 'kfpm-compare-table' }, head, ...groups);
    const same = element('p', { class: 'kfpm-quiet' }, t('Nothing else differs.'));
    this.body.replaceChildren(
      element('div', { class: 'kfpm-scroll', tabindex: '0', role: 'region', 'aria-label': t('Comparison') }, table),
      ...sources.flatMap(source => this.source(source)),
      ...(this.onlyDifferent.checked ? [same] : [])
    );
  }

  private heading(run: RunRow): HTMLElement {
    const open = element('button', { type: 'button', class: 'kfpm-link' }, visible(run.name.slice(0, 200)));
    open.addEventListener('click', () => void this.commands.execute(Commands.openRun, { id: run.id }));
    const when = element('div', { class: 'kfpm-quiet' }, moment(run.created));
    return element('div', {}, stateIcon(run.state), ' ', open, when);
  }

  private group(title: string, rows: readonly ComparedRow[], show: Show, isMeasured = false): HTMLElement[] {
    const shown = rows.filter(row => !row.same || !this.onlyDifferent.checked);
    if (shown.length === 0) {
      return [];
    }
    const width = String(this.comparison.runs.length + 1);
    const head = element('tr', {}, element('th', { colspan: width, scope: 'colgroup', class: 'kfpm-compare-group' }, title));
    const lines = shown.map(row => {
      const cells = row.values.map((value, at) => {
        const cell = element('td', {}, ...(value === null ? ['–'] : show(value)));
        if (isMeasured && at > 0) {
          cell.append(...delta(row.values[0], value));
        }
        cell.classList.toggle('kfpm-differs', at > 0 && JSON.stringify(value) !== JSON.stringify(row.values[0]));
        return cell;
      });
      return element('tr', {}, element('th', { scope: 'row' }, visible(row.what)), ...cells);
    });
    return [element('tbody', {}, head, ...lines)];
  }

  private source({ step, diffs }: { step: string; diffs: string[] }): HTMLElement[] {
    return diffs.flatMap((diff, at) => {
      if (diff === '') {
        return [];
      }
      const lines = diff
        .split('\n')
        .filter(line => !line.startsWith('---') && !line.startsWith('+++'))
        .map(line => element('span', { class: `kfpm-diff kfpm-diff-${kindOf(line)}` }, visible(line)));
      const name = visible(this.comparison.runs[at]?.name ?? '');
      return [
        element('h3', {}, t('Code of %1 in %2', visible(step), name)),
        element('pre', { class: 'kfpm-code', tabindex: '0' }, ...lines)
      ];
    });
  }
}

function kindOf(line: string): string {
  return line.startsWith('+') ? 'added' : line.startsWith('-') ? 'removed' : line.startsWith('@@') ? 'place' : 'same';
}

function numberText(value: Json): string {
  return typeof value === 'number' ? String(Number(value.toPrecision(6))) : valueText(value);
}

function delta(first: Json | undefined, value: Json): Node[] {
  if (typeof first !== 'number' || typeof value !== 'number' || first === value) {
    return [];
  }
  const change = value - first;
  const text = `${change > 0 ? '+' : '−'}${Number(Math.abs(change).toPrecision(3))}`;
  return [element('span', { class: 'kfpm-delta' }, text)];
}
