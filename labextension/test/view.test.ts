// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import example from '../../tests/data/run.json';
import { RunView } from '../src/view/index';
import { fold } from '../src/view/fold';
import { arrange, walk } from '../src/view/layout';
import { duration, note, valueText } from '../src/view/text';
import { isFinal, mostTelling, type Run, type Task } from '../src/view/types';

// Read through the types that the view draws from: a field that Python renames fails here.
const run = example as unknown as Run;

const KEYS = [
  'artifacts', 'attempt', 'cached', 'cell_id', 'component', 'error', 'finished', 'id', 'image', 'inputs', 'kind',
  'name', 'needs', 'outputs', 'parent', 'reason', 'started', 'state'
];

function copy(): Run {
  return structuredClone(run);
}

function box(id: string): HTMLElement {
  const found = [...document.querySelectorAll<HTMLElement>('.kfpm-box')].find(one => one.title === id);
  if (found === undefined) {
    throw new Error(`no box ${id}`);
  }
  return found;
}

function press(target: HTMLElement, key: string): void {
  target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
}

let view: RunView;
const selected = vi.fn();

beforeEach(() => {
  document.body.replaceChildren();
  selected.mockReset();
  view = new RunView(document.body, { onSelect: selected });
});

afterEach(() => view.dispose());

describe('the shape', () => {
  it('is the one that Python writes', () => {
    for (const task of run.tasks) {
      expect(Object.keys(task).sort()).toEqual(KEYS);
    }
  });
});

describe('text', () => {
  it.each([
    [0.04, '0.0 s'],
    [9.94, '9.9 s'],
    [12.4, '12 s'],
    [72, '1 m 12 s'],
    [7500, '2 h 05 m']
  ])('writes %d seconds', (seconds, text) => expect(duration(seconds)).toBe(text));

  it('cuts long values and keeps one line', () => {
    expect(valueText('a\nb')).toBe('a b');
    expect(valueText('x'.repeat(300))).toHaveLength(200);
    expect(valueText({ a: [1, null] })).toBe('{"a":[1,null]}');
  });

  it('says what was reused', () => expect(note(run.tasks[0] as Task, 0)).toBe('reused'));
  it('says what a build does', () =>
    expect(note({ ...(run.tasks[0] as Task), cached: false, kind: 'image', reason: 'pushing · 70%' }, 0)).toBe(
      'pushing · 70%'
    ));
});

describe('layout', () => {
  it('puts members inside their groups and needs to the left', () => {
    const boxes = new Map([...walk(arrange(run.tasks).boxes)].map(one => [one.task.id, one]));
    expect(boxes.size).toBe(run.tasks.length);
    for (const one of boxes.values()) {
      for (const member of one.members) {
        expect(member.x).toBeGreaterThanOrEqual(one.x);
        expect(member.x + member.width).toBeLessThanOrEqual(one.x + one.width + 0.01);
        expect(member.y + member.height).toBeLessThanOrEqual(one.y + one.height + 0.01);
      }
      for (const need of one.task.needs) {
        const from = boxes.get(need);
        expect(from && from.x + from.width).toBeLessThan(one.x);
      }
    }
  });

  it('folds long loops but shows what failed', () => {
    const loop = { ...(run.tasks[0] as Task), id: 'loop', kind: 'loop', parent: '' };
    const items = Array.from({ length: 40 }, (_, at) => ({
      ...loop,
      id: `loop/${at}`,
      kind: 'iteration',
      parent: 'loop',
      state: at === 30 ? ('failed' as const) : ('succeeded' as const)
    }));
    const choices = { items: new Set<string>(), open: new Set<string>(), closed: new Set<string>() };
    const folded = fold([loop, ...items], choices);
    expect(folded.tasks.map(task => task.id)).toContain('loop/30');
    expect(folded.hidden.get('loop')).toBe(34);
    expect(fold([loop, ...items], { ...choices, items: new Set(['loop']) }).tasks).toHaveLength(41);
  });
});

describe('the view', () => {
  it('shows every task and selects the failed step by itself', () => {
    view.update(run);
    expect(document.querySelectorAll('.kfpm-box')).toHaveLength(run.tasks.length);
    expect(mostTelling(run)?.id).toBe('for-loop-1/1/train');
    expect(box('for-loop-1/1/train').getAttribute('aria-pressed')).toBe('true');
    expect(document.querySelector('.kfpm-details')?.textContent).toContain('line 7');
    expect(document.querySelector('.kfpm-head')?.textContent).toContain('6 of 6 steps');
  });

  it('names the new data that started a run', () => {
    expect(document.querySelector('.kfpm-head')?.textContent).not.toContain('started by');
    view.update({ ...copy(), started_by: 'trigger: gs://data/in/<b>a</b>.csv' });
    expect(document.querySelector('.kfpm-head')?.textContent).toContain('started by gs://data/in/<b>a</b>.csv');
  });

  it('counts no second of a run that nobody can ask about', () => {
    const going = { ...copy(), state: 'running' as const, finished: null, started: 1000 };
    going.tasks = going.tasks.map(task =>
      task.id === 'clean-up' ? { ...task, state: 'running', started: 1000, finished: null } : task
    );
    view.update({ ...going, stale: 1003, stale_reason: 'the server fails (500)' });
    expect(document.querySelector('.kfpm-head')?.textContent).toMatch(/running · 3\.0 s · .* · stale since .*: the server fails \(500\)/);
    expect(box('clean-up').textContent).toContain('3.0 s');
    expect(document.querySelector('.kfpm-run')?.hasAttribute('data-stale')).toBe(true);
    view.update({ ...going, stale: null, started: Date.now() / 1000 - 100 });
    expect(document.querySelector('.kfpm-head')?.textContent).toMatch(/running · 1 m 40 s · [^·]*$/);
    expect(document.querySelector('.kfpm-run')?.hasAttribute('data-stale')).toBe(false);
  });

  it('never reads a value as HTML', () => {
    view.update(run);
    expect(document.querySelector('b')).toBeNull();
    expect(document.body.textContent).toContain('<b>0.2</b>');
  });

  it('keeps the selection and the elements while a run goes on', () => {
    const going = copy();
    going.state = 'running';
    view.update(going);
    const before = box('ingest');
    before.click();
    expect(selected).toHaveBeenCalledWith('ingest');
    const next = copy();
    next.tasks = next.tasks.map(task => (task.id === 'clean-up' ? { ...task, state: 'running' } : task));
    view.update(next);
    expect(box('ingest')).toBe(before);
    expect(before.getAttribute('aria-pressed')).toBe('true');
    expect(box('clean-up').dataset['state']).toBe('running');
    expect(document.querySelector('.kfpm-details')?.textContent).toContain('1450');
  });

  it('goes from box to box with the keyboard', () => {
    view.update(run);
    box('ingest').focus();
    press(box('ingest'), 'ArrowRight');
    expect((document.activeElement as HTMLElement).title).toMatch(/^for-loop-1/);
    press(document.activeElement as HTMLElement, 'End');
    expect((document.activeElement as HTMLElement).title).toBe('clean-up');
    press(document.activeElement as HTMLElement, 'Home');
    expect((document.activeElement as HTMLElement).title).toBe('ingest');
    expect([...document.querySelectorAll<HTMLElement>('.kfpm-box')].filter(one => one.tabIndex === 0)).toHaveLength(1);
  });

  it('shows the log of the selected step only, with its colours as text', () => {
    view.update(run);
    view.setTail('ingest', 'not this one');
    view.setTail('for-loop-1/1/train', '\u001b[31mred\u001b[0m <i>plain</i>');
    const log = document.querySelector('.kfpm-log');
    expect(log?.textContent).toBe('red <i>plain</i>');
    expect(log?.querySelector('.kfpm-ansi-red')?.textContent).toBe('red');
  });

  it('leaves the log where it was read when the time moves on', () => {
    const going = copy();
    going.tasks = going.tasks.map(task => (task.id === 'ingest' ? { ...task, state: 'running', finished: null } : task));
    view.update(going);
    box('ingest').click();
    view.setTail('ingest', 'one\ntwo\nthree');
    const log = document.querySelector<HTMLElement>('.kfpm-log');
    Object.defineProperties(log, { scrollHeight: { value: 900 }, clientHeight: { value: 100 } });
    log!.scrollTop = 300;
    view.update({ ...going, tasks: going.tasks.map(task => (task.id === 'ingest' ? { ...task, attempt: 2 } : task)) });
    expect(log!.scrollTop).toBe(300);
    log!.scrollTop = 800;
    view.update(going);
    expect(log!.scrollTop).toBe(900);
  });

  it('tells what has changed to those who listen', () => {
    const going = copy();
    going.state = 'running';
    view.update(going);
    expect(document.querySelector('[role=status]')?.textContent).toBe(`${run.name} running`);
    view.update(run);
    expect(document.querySelector('[role=status]')?.textContent).toBe(`${run.name} failed`);
    expect(isFinal(run.state)).toBe(true);
  });
});
