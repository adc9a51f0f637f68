/** The artifacts of a task: metrics as they are, everything else behind a click. */

import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';

import type { Client } from '../api/client';
import { listOf, shortType } from '../view/blocks';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { valueText, visible } from '../view/text';
import type { Artifact, Task } from '../view/types';

const SHOWN_AT_ONCE = ['system.HTML', 'system.Markdown'];

export interface ArtifactContext {
  client: Client;
  rendermime: IRenderMimeRegistry;
  runId: string;
}

/** Cards of all artifacts of a task. */
export function artifactCards(task: Task, context: ArtifactContext): HTMLElement[] {
  return (['output', 'input'] as const).flatMap(io => {
    const some = task.artifacts.filter(one => one.io === io);
    if (some.length === 0) {
      return [];
    }
    const seen = new Map<string, number>();
    const cards = some.map(one => {
      const index = seen.get(one.name) ?? 0;
      seen.set(one.name, index + 1);
      return card(task, one, index, context);
    });
    return [element('h5', {}, io === 'output' ? t('Written') : t('Read')), ...cards];
  });
}

function card(task: Task, artifact: Artifact, index: number, { client, rendermime, runId }: ArtifactContext): HTMLElement {
  const key = { runId, task: task.id, name: artifact.name, io: artifact.io, index };
  const body = element('div', { class: 'kfpm-card-body' });
  const isMetrics = artifact.type.endsWith('Metrics');
  const title = element('span', { class: 'kfpm-card-title' }, element('strong', {}, visible(artifact.name)), element('span', { class: 'kfpm-type' }, shortType(artifact.type)));
  const made = element('section', { class: 'kfpm-card', 'aria-label': visible(artifact.name) }, element('header', {}, title), body);
  if (isMetrics) {
    void import('./plots').then(({ metricParts }) => body.append(...metricParts(artifact.metadata)));
    return made;
  }
  const facts = Object.entries(artifact.metadata).filter(([name]) => name !== 'display_name');
  body.append(...listOf([...facts.map(([name, value]) => [name, valueText(value)] as const), [t('Where'), artifact.uri] as const]));
  const place = element('div');
  const show = element('button', { type: 'button', class: 'kfpm-button', 'aria-expanded': 'false' }, t('Preview'));
  const toggle = async (): Promise<void> => {
    const isOpen = show.getAttribute('aria-expanded') === 'true';
    show.setAttribute('aria-expanded', String(!isOpen));
    if (isOpen) {
      place.replaceChildren();
      return;
    }
    const { preview } = await import('./previews');
    place.replaceChildren(await preview(client, rendermime, key));
  };
  show.addEventListener('click', () => void toggle());
  const save = element('a', { class: 'kfpm-button', href: client.artifactAddress(key, { download: true }), download: '' }, t('Download'));
  save.setAttribute('aria-label', t('Download %1', visible(artifact.name)));
  made.querySelector('header')?.append(show, save);
  body.append(place);
  if (SHOWN_AT_ONCE.includes(artifact.type) && artifact.io === 'output') {
    void toggle();
  }
  return made;
}
