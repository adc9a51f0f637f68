// @vitest-environment happy-dom
import { describe, expect, it } from 'vitest';

import type { Badge, Parameter } from '../src/api/types';
import { problemWith, readValue } from '../src/form/field';
import { badgeText, isSameCode } from '../src/notebook/badge';
import { drawLine } from '../src/panel/row';
import { colourBefore, LogText } from '../src/run/logtext';
import { areaUnder, matrixOf, rocOf } from '../src/run/plots';
import { pieces } from '../src/view/ansi';
import { fold } from '../src/view/fold';
import { placeInLayers } from '../src/view/layers';
import { bytes, isPage, starter, trigger, valueText, visible } from '../src/view/text';
import type { Task } from '../src/view/types';

function task(id: string, kind: string, parent: string, state: Task['state'] = 'succeeded'): Task {
  const [component, image, reason, cell_id] = ['', '', '', ''];
  const base = { id, kind, parent, state, name: id, component, image, reason, cell_id, attempt: 1, cached: false };
  return { ...base, needs: [], started: 1, finished: 2, inputs: {}, outputs: {}, artifacts: [], error: null };
}

describe('who started a run', () => {
  it('names new data, and shows what is hostile in its name', () => {
    const run = { started_by: 'trigger: /data/in/a\u202e.csv', notebook: '/a/n.ipynb' };
    expect(trigger(run)).toBe('/data/in/a·.csv');
    expect(starter(run)).toBe('new data');
    expect(trigger({ started_by: 'schedule' })).toBe('');
    expect(starter({ started_by: 'schedule', notebook: '' })).toBe('schedule');
  });
});

describe('text', () => {
  it('shows control characters and takes away what turns text around', () => {
    expect(visible('a\u0007b\u001b[31m')).toBe('a\u2407b\u241b[31m');
    expect(visible('abc\u202etxt.exe')).toBe('abc·txt.exe');
    expect(visible('two\nlines\tand umlauts äöü 漢字')).toBe('two\nlines\tand umlauts äöü 漢字');
  });

  it('cuts megabytes before it looks at them', () => {
    expect(valueText('x'.repeat(10_000_000))).toHaveLength(200);
    expect(bytes(0)).toBe('0 B');
    expect(bytes(4_200)).toBe('4.2 kB');
  });

  it('opens pages only', () => {
    expect(isPage('https://kfp.example/#/runs/details/1')).toBe(true);
    expect(isPage('javascript:alert(1)')).toBe(false);
    expect(isPage('/relative')).toBe(false);
  });
});

describe('terminal text', () => {
  it('keeps what a progress bar said last', () => {
    expect(pieces('10%\r50%\r100%\ndone\r\n').map(one => one.text).join('')).toBe('100%\ndone\n');
  });

  it('turns colours into classes and other sequences into nothing', () => {
    const found = pieces('\u001b[1;32mgood\u001b[0m plain\u001b[2K');
    expect(found[0]).toEqual({ text: 'good', classes: 'kfpm-ansi-green kfpm-bold' });
    expect(found.map(one => one.text).join('')).toBe('good plain');
  });
});

describe('the text of a log', () => {
  it('grows at both ends across the middle of lines', () => {
    const log = new LogText();
    log.reset(10);
    log.append('ond\nthi', 17);
    log.append('rd\n', 20);
    expect(log.count).toBe(2);
    expect(log.prepend('first\nsec', 1)).toBe(1);
    expect(log.lines).toEqual(['first', 'second', 'third', '']);
    expect([log.start, log.end, log.count]).toEqual([1, 20, 3]);
  });

  it('forgets its beginning when it is followed for long, and knows where it begins then', () => {
    const log = new LogText();
    const text = 'ä\n'.repeat(100_001);
    const dropped = log.append(text, 300_003);
    expect(dropped).toBe(100_002 - 50_000);
    expect(log.start).toBe(3 * dropped);
    expect(log.end - log.start).toBe(new TextEncoder().encode(log.lines.join('\n')).length);
  });

  it('takes the colour of a line from those above', () => {
    const lines = ['\u001b[31mred', 'still', '\u001b[0mplain', 'plain'];
    expect(colourBefore(lines, 1)).toBe('\u001b[31m');
    expect(colourBefore(lines, 3)).toBe('');
  });
});

describe('plots', () => {
  it('read what kfp writes', () => {
    const roc = rocOf([
      { confidenceThreshold: 0, recall: 1, falsePositiveRate: 1 },
      { confidenceThreshold: 1, recall: 0, falsePositiveRate: 0 },
      { confidenceThreshold: 0.5, recall: 1, falsePositiveRate: 0.5 },
      'no point'
    ]);
    expect(roc.map(point => point.fpr)).toEqual([0, 0.5, 1]);
    expect(areaUnder(roc)).toBeCloseTo(0.75);
    const specs = [{ displayName: 'a' }, { displayName: 'b' }];
    expect(matrixOf({ annotationSpecs: specs, rows: [{ row: [1, 2] }, { row: [3, 4] }] })).toEqual({
      labels: ['a', 'b'],
      rows: [[1, 2], [3, 4]]
    });
    expect(matrixOf({ annotationSpecs: specs, rows: [{ row: [1, 2] }] })).toBeUndefined();
    expect(matrixOf('<script>')).toBeUndefined();
  });
});

describe('the form', () => {
  const of = (type: string, required = false): Parameter => ({ name: 'x', type, required });

  it.each([
    ['int', '12', ''],
    ['int', '1.5', 'This is no whole number.'],
    ['float', '1e-3', ''],
    ['float', 'much', 'This is no number.'],
    ['list', '[1]', ''],
    ['list', '{}', 'A list is needed: [1, 2, 3]'],
    ['dict', '{"a": 1}', ''],
    ['dict', 'null', 'An object is needed: {"key": "value"}'],
    ['str', '', '']
  ])('checks %s %s', (type, text, problem) => expect(problemWith(of(type), text)).toBe(problem));

  it('wants what is required', () => expect(problemWith(of('int', true), ' ')).toBe('A value is needed.'));

  it('gives typed values', () => {
    expect(readValue('int', ' 3 ')).toBe(3);
    expect(readValue('float', '')).toBeUndefined();
    expect(readValue('bool', 'true')).toBe(true);
    expect(readValue('str', ' 3 ')).toBe(' 3 ');
    expect(readValue('dict', '{"a": [1]}')).toEqual({ a: [1] });
  });
});

describe('badges', () => {
  const badge: Badge = {
    cell_id: 'c',
    component: 'train',
    image: { run_id: 'b', state: 'succeeded', reference: 'r@sha256:1', finished: 1, source: '\ndef train(): ...\n' },
    run: {
      run_id: 'r', task_id: 'train', state: 'failed', kind: 'pipeline', started: 1, finished: 3, cached: false,
      error: null, count: 3, source: '\ndef train(): pass\n'
    }
  };

  it('compare the code without the line of the magic', () => {
    expect(isSameCode('\nx = 1\n', '%%kfp_component --cpu 1\nx = 1')).toBe(true);
    expect(isSameCode('\nx = 1\n', '%%kfp_component\nx = 2')).toBe(false);
    expect(isSameCode(null, 'x')).toBeUndefined();
  });

  it('say how the step stands', () => {
    const says = badgeText(badge, '%%kfp_component\ndef train(): ...');
    expect(says).toContain('last run: failed, 2.0 s, 3 tasks');
    expect(says).toContain('the code has changed since that run');
    expect(says).toContain('image: succeeded, in sync');
  });
});

describe('large graphs', () => {
  it('begin with their groups closed, but for those that fail', () => {
    const groups = ['a', 'b'].flatMap(name => [
      task(name, 'group', '', name === 'b' ? 'failed' : 'succeeded'),
      ...Array.from({ length: 150 }, (_, at) => task(`${name}/${at}`, 'step', name))
    ]);
    const choices = { items: new Set<string>(), open: new Set<string>(), closed: new Set<string>() };
    const folded = fold(groups, choices);
    expect(folded.closed).toEqual(new Map([['a', 150]]));
    expect(folded.tasks).toHaveLength(152);
    expect(fold(groups, { ...choices, open: new Set(['a']), closed: new Set(['b']) }).closed.has('b')).toBe(true);
  });

  it('place every box right of what it needs, and none on another', () => {
    const nodes = Array.from({ length: 400 }, (_, at) => ({ width: 100, height: 40, needs: at < 90 ? [] : [at - 90] }));
    const places = placeInLayers(nodes);
    nodes.forEach((node, at) =>
      node.needs.forEach(need => expect(places[need]!.x + 100).toBeLessThan(places[at]!.x))
    );
    expect(new Set(places.map(place => `${place.x} ${place.y}`)).size).toBe(400);
  });
});

describe('a line of the list', () => {
  const marks = { id: 'x', isActive: true, isSelected: false, isCompact: false, grouping: 'none', now: 100 };

  it('keeps its element and shows names as text', () => {
    const node = document.createElement('div');
    const none = { total: 2, done: 1, pending: 0, running: 1, succeeded: 1, failed: 0, cancelled: 0, skipped: 0, unknown: 0 };
    const row = {
      id: 'r', name: '<b>n</b>\u202e', kind: 'pipeline' as const, pipeline: 'p', backend: 'local', target: '', attempt: 1,
      state: 'running' as const, created: 90, started: 90, finished: null, url: '', error: '', experiment: '', notebook: '/a/n.ipynb',
      notebook_path: 'n.ipynb', started_by: 'notebook', archived: false, revision: 1, progress: none
    };
    drawLine({ kind: 'run', row, at: 4, of: 9, depth: 0 }, node, marks);
    expect(node.querySelector('b')).toBeNull();
    expect(node.textContent).toContain('<b>n</b>·');
    expect(node.textContent).toContain('p · n.ipynb · just now');
    expect(node.getAttribute('aria-posinset')).toBe('5');
    const [first] = node.children;
    drawLine({ kind: 'run', row, at: 4, of: 9, depth: 0 }, node, marks);
    expect(node.children[0]).toBe(first);
    // Of a run whose server is away nothing is claimed that nobody knows.
    expect(node.textContent).toContain('10 s');
    const stale = { ...row, stale: 93, stale_reason: 'the server fails (500)', revision: 2 };
    drawLine({ kind: 'run', row: stale, at: 4, of: 9, depth: 0 }, node, { ...marks, now: 5000 });
    expect(node.querySelector('.kfpm-row-sub')?.textContent).toMatch(/^stale since .*: the server fails \(500\) · /);
    expect(node.querySelector('.kfpm-row-side')?.textContent).toBe('3.0 sstale');
    expect(node.title).toContain('the server fails (500)');
  });
});
