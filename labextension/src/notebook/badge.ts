/** The badge of one cell: how its step stands, and whether the code has moved on since. */

import type { Badge } from '../api/types';
import { element } from '../view/dom';
import { t, tn } from '../view/i18n';
import { stateIcon } from '../view/icons';
import { lasted, stateWord, visible } from '../view/text';

/** Whether the text of a cell is what it was; the magic's own line may say something else. */
export function isSameCode(remembered: string | null, source: string): boolean | undefined {
  const body = (text: string): string => text.split('\n').slice(1).join('\n').trimEnd();
  return remembered === null ? undefined : body(remembered) === body(source);
}

/** What a badge says, in words. */
export function badgeText(badge: Badge, source: string): string[] {
  const { run, image } = badge;
  const says = [visible(badge.component)];
  if (run !== null) {
    const now = Date.now() / 1000;
    const took = run.cached ? t('reused') : lasted(run, now);
    const many = run.count > 1 ? tn('%1 task', '%1 tasks', run.count) : '';
    says.push([t('last run: %1', stateWord(run.state)), took, many].filter(Boolean).join(', '));
    if (run.error !== null) {
      says.push(visible(run.error.message.slice(0, 300)));
    }
    if (isSameCode(run.source, source) === false) {
      says.push(t('the code has changed since that run'));
    }
  }
  if (image !== null) {
    const same = isSameCode(image.source, source);
    const sync = same === undefined ? '' : same ? t('in sync') : t('the code is newer');
    says.push([t('image: %1', stateWord(image.state)), sync].filter(Boolean).join(', '));
  }
  return says;
}

/** Makes the badge. */
export function makeBadge(badge: Badge, source: string, onOpen: () => void): HTMLElement {
  const state = badge.run?.state ?? badge.image?.state ?? 'unknown';
  const isOld = [badge.run?.source, badge.image?.source].some(one => one !== undefined && isSameCode(one, source) === false);
  const says = badgeText(badge, source);
  const made = element('button', { type: 'button', class: 'kfpm-badge', title: says.join('\n'), 'data-state': state });
  made.setAttribute('aria-label', says.join('; '));
  made.append(stateIcon(state), ...(isOld ? [element('span', { class: 'kfpm-old', 'aria-hidden': 'true' }, '✎')] : []));
  made.addEventListener('click', onOpen);
  return made;
}
