/** Metrics as pictures: the ROC curve, the confusion matrix, and plain numbers as a table. */

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { element } from '../view/dom';
import { t } from '../view/i18n';
import { valueText, visible } from '../view/text';
import type { Artifact, Json, Values } from '../view/types';

/** A curve: false positive rate, true positive rate, threshold. */
export interface RocPoint {
  fpr: number;
  tpr: number;
  threshold: number;
}

export interface Matrix {
  labels: string[];
  rows: number[][];
}

/** Whether an artifact carries metrics in its metadata. */
export function isMetrics(artifact: Artifact): boolean {
  return artifact.type.endsWith('Metrics');
}

/** Draws everything that an artifact's metadata tells of a model. */
export function metricParts(metadata: Values): HTMLElement[] {
  const roc = rocOf(metadata['confidenceMetrics']);
  const matrix = matrixOf(metadata['confusionMatrix']);
  const plain = Object.entries(metadata).filter(
    ([name]) => !['display_name', 'confidenceMetrics', 'confusionMatrix'].includes(name)
  );
  return [
    ...(plain.length > 0 ? [numbers(plain)] : []),
    ...(roc.length > 1 ? [rocPlot(roc)] : []),
    ...(matrix !== undefined ? [matrixTable(matrix)] : [])
  ];
}

/** Reads a ROC curve as kfp writes it; points in the order of the false positive rate. */
export function rocOf(value: Json | undefined): RocPoint[] {
  const points = (Array.isArray(value) ? value : []).flatMap(one => {
    if (one === null || typeof one !== 'object' || Array.isArray(one)) {
      return [];
    }
    const point = {
      fpr: Number(one['falsePositiveRate']),
      tpr: Number(one['recall']),
      threshold: Number(one['confidenceThreshold'])
    };
    return Number.isFinite(point.fpr) && Number.isFinite(point.tpr) ? [point] : [];
  });
  return points.sort((a, b) => a.fpr - b.fpr || a.tpr - b.tpr);
}

/** Area under a ROC curve, by trapezes. */
export function areaUnder(points: readonly RocPoint[]): number {
  return points.slice(1).reduce((sum, point, at) => {
    const before = points[at] ?? point;
    return sum + ((point.fpr - before.fpr) * (point.tpr + before.tpr)) / 2;
  }, 0);
}

/** Reads a confusion matrix as kfp writes it. */
export function matrixOf(value: Json | undefined): Matrix | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return undefined;
  }
  const list = (one: Json | undefined): Json[] => (Array.isArray(one) ? one : []);
  const field = (one: Json, name: string): Json | undefined =>
    one !== null && typeof one === 'object' && !Array.isArray(one) ? one[name] : undefined;
  const labels = list(value['annotationSpecs']).map(one => String(field(one, 'displayName') ?? ''));
  const rows = list(value['rows']).map(one => list(field(one, 'row')).map(Number));
  return labels.length > 0 && rows.length === labels.length && labels.length <= 200 ? { labels, rows } : undefined;
}

function numbers(entries: readonly [string, Json][]): HTMLElement {
  const tiles = entries.map(([name, value]) =>
    element('div', { class: 'kfpm-tile' }, element('dt', {}, visible(name)), element('dd', {}, number(value)))
  );
  return element('dl', { class: 'kfpm-tiles' }, ...tiles);
}

function number(value: Json): string {
  return typeof value === 'number' && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : valueText(value, 80);
}

function rocPlot(points: readonly RocPoint[]): HTMLElement {
  const host = element('div', { class: 'kfpm-plot' });
  const area = areaUnder(points).toFixed(3);
  const figure = element('figure', { role: 'img' }, host, element('figcaption', {}, t('ROC curve · area %1', area)));
  figure.setAttribute('aria-label', t('ROC curve with %1 points, area under it %2', points.length, area));
  // Colours are known once the figure is in the page.
  requestAnimationFrame(() => {
    const style = getComputedStyle(host);
    const [line, text, grid] = ['--kfpm-go', '--kfpm-quiet', '--kfpm-line'].map(name => style.getPropertyValue(name).trim());
    const axis = (label: string): uPlot.Axis => ({ label, stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, size: 44, labelSize: 18 });
    const options: uPlot.Options = {
      width: 320,
      height: 260,
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: false, range: [0, 1] }, y: { range: [0, 1] } },
      axes: [axis(t('False positive rate')), axis(t('True positive rate'))],
      series: [{}, { stroke: line, width: 2, fill: `color-mix(in srgb, ${line ?? 'blue'} 12%, transparent)` }]
    };
    new uPlot(options, [points.map(point => point.fpr), points.map(point => point.tpr)], host);
  });
  return figure;
}

function matrixTable({ labels, rows }: Matrix): HTMLElement {
  const most = Math.max(1, ...rows.flat());
  const heads = labels.map(label => element('th', { scope: 'col' }, visible(label)));
  const lines = rows.map((row, at) => {
    const cells = row.map(count => {
      const cell = element('td', {}, String(count));
      cell.style.setProperty('--kfpm-heat', `${Math.round((70 * count) / most)}%`);
      return cell;
    });
    return element('tr', {}, element('th', { scope: 'row' }, visible(labels[at] ?? '')), ...cells);
  });
  const table = element(
    'table',
    { class: 'kfpm-matrix' },
    element('caption', {}, t('Confusion matrix')),
    element('thead', {}, element('tr', {}, element('td'), ...heads)),
    element('tbody', {}, ...lines)
  );
  const legend = element('div', { class: 'kfpm-quiet' }, t('True labels in rows, predicted ones in columns.'));
  const scroll = element('div', { class: 'kfpm-scroll', tabindex: '0', role: 'region' }, table, legend);
  scroll.setAttribute('aria-label', t('Confusion matrix'));
  return scroll;
}
