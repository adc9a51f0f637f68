/** What is above the list: search, states with their counts, groups. */

import type { Facets } from '../api/types';
import type { Filter, Grouping } from '../model/filter';
import type { RunList } from '../model/runs';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { stateIcon } from '../view/icons';
import { stateWord } from '../view/text';
import type { State } from '../view/types';

const TYPED = 250; // milliseconds without a key after which is searched
const STATES: readonly State[] = ['running', 'failed', 'succeeded', 'pending', 'cancelled'];

export class Filters {
  readonly node: HTMLElement;
  private readonly search: HTMLInputElement;
  private readonly chips = element('div', { class: 'kfpm-chips', role: 'group', 'aria-label': t('Filter by state') });
  private readonly grouping: HTMLSelectElement;
  private readonly kind: HTMLSelectElement;
  private readonly archived: HTMLInputElement;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private drawn = '';

  constructor(
    private readonly list: RunList,
    private readonly onShow: (filter: Filter, grouping: Grouping) => void
  ) {
    this.search = element('input', { type: 'search', class: 'jp-mod-styled', placeholder: t('Search runs'), 'aria-label': t('Search runs') });
    this.search.addEventListener('input', () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.change({ search: this.search.value.trim() }), TYPED);
    });
    this.grouping = choice(t('Group by'), [
      ['none', t('No groups')],
      ['pipeline', t('By pipeline')],
      ['notebook', t('By notebook')],
      ['experiment', t('By experiment')],
      ['state', t('By state')]
    ]);
    this.grouping.addEventListener('change', () => this.onShow(this.list.filter, this.grouping.value as Grouping));
    this.kind = choice(t('Kind of runs'), [
      ['', t('All kinds')],
      ['pipeline', t('Pipelines')],
      ['build', t('Image builds')],
      ['try', t('Trials')]
    ]);
    this.kind.addEventListener('change', () => {
      this.change({ facets: this.kind.value === '' ? {} : { kind: this.kind.value } });
    });
    this.archived = element('input', { type: 'checkbox' });
    this.archived.addEventListener('change', () => this.change({ archived: this.archived.checked }));
    const archived = element('label', { class: 'kfpm-check' }, this.archived, t('Archived'));
    const more = element('div', { class: 'kfpm-choices' }, this.grouping, this.kind, archived);
    this.node = element('div', { class: 'kfpm-filters', role: 'search' }, this.search, this.chips, more);
  }

  /** Shows the counts. */
  update(): void {
    const { facets, filter } = this.list;
    const key = JSON.stringify([facets?.state, filter.states]);
    if (key !== this.drawn) {
      this.drawn = key;
      this.drawChips(facets, filter.states);
    }
  }

  private drawChips(facets: Facets | undefined, chosen: readonly State[]): void {
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset['state'] : undefined;
    const counts = new Map(facets?.state.map(({ value, count }) => [value, count]));
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const shown = STATES.filter(state => counts.has(state) || chosen.includes(state));
    this.chips.replaceChildren(
      this.chip('', all, chosen.length === 0),
      ...shown.map(state => this.chip(state, counts.get(state) ?? 0, chosen.includes(state)))
    );
    if (focused !== undefined) {
      this.chips.querySelector<HTMLElement>(`[data-state="${focused}"]`)?.focus();
    }
  }

  private chip(state: State | '', count: number, isChosen: boolean): HTMLElement {
    const word = state === '' ? t('All') : stateWord(state);
    const chip = element('button', { type: 'button', class: 'kfpm-chip', 'aria-pressed': String(isChosen), 'data-state': state });
    chip.setAttribute('aria-label', `${word}, ${count}`);
    chip.title = word;
    chip.append(...(state === '' ? [word] : [stateIcon(state)]), element('span', { class: 'kfpm-count' }, String(count)));
    chip.addEventListener('click', () => this.change({ states: state === '' || isChosen ? [] : [state] }));
    return chip;
  }

  private change(change: Partial<Filter>): void {
    this.onShow({ ...this.list.filter, ...change }, this.list.grouping);
  }
}

function choice(label: string, options: readonly [string, string][]): HTMLSelectElement {
  const made = element('select', { 'aria-label': label, class: 'kfpm-select', title: label });
  made.append(...options.map(([value, text]) => element('option', { value }, text)));
  return made;
}
