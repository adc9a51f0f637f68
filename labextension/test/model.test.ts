import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import example from '../../tests/data/run.json';
import { ApiError, type Client } from '../src/api/client';
import type { RunDetail, RunEvent, RunRow } from '../src/api/types';
import { EVERYTHING, matches, toQuery, within } from '../src/model/filter';
import { RunModel } from '../src/model/run';
import { RunList } from '../src/model/runs';
import { StatusModel } from '../src/model/status';
import { TestServer } from './server';

const NONE = { total: 1, done: 1, pending: 0, running: 0, succeeded: 1, failed: 0, cancelled: 0, skipped: 0, unknown: 0 };

function row(id: string, change: Partial<RunRow> = {}): RunRow {
  const made: RunRow = {
    id, name: id, kind: 'pipeline', pipeline: 'p', backend: 'local', target: '', state: 'succeeded', attempt: 1,
    created: 1, started: 1, finished: 2, url: '', error: '', experiment: '', notebook: '', notebook_path: '',
    started_by: 'cli', archived: false, revision: 1, progress: NONE
  };
  return { ...made, ...change };
}

function detail(change: Partial<RunDetail> = {}): RunDetail {
  const run = structuredClone(example) as unknown as RunDetail;
  return { ...run, revision: 5, archived: false, shortened: false, now: 0, logs: true, notebook_path: '', ...change };
}

const server = new TestServer();
let client: Client;

beforeEach(async () => {
  server.asked.length = 0;
  client = await server.start();
});

afterEach(() => server.stop());

describe('the client', () => {
  it('asks for what has changed only', async () => {
    server.answer = () => ({ body: { runs: [], total: 7 }, tag: '"1"' });
    const first = await client.runs({ state: ['failed', 'running'], search: 'a b' });
    expect(await client.runs({ state: ['failed', 'running'], search: 'a b' })).toBe(first);
    expect(server.asked[0]?.query.getAll('state')).toEqual(['failed', 'running']);
    expect(server.asked[0]?.query.get('search')).toBe('a b');
    expect(server.asked.map(one => one.tag)).toEqual([undefined, '"1"']);
  });

  it('tells what the server refuses, with its hint', async () => {
    server.answer = () => ({ status: 409, body: { message: 'It runs.', hint: 'Cancel it first.' } });
    const refused = await client.delete('a/b').catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ApiError);
    expect(refused).toMatchObject({ message: 'It runs.', hint: 'Cancel it first.', status: 409 });
    expect(server.asked[0]).toMatchObject({ method: 'DELETE', path: 'runs/a/b' });
  });

  it('tells a missing extension from a missing run', async () => {
    server.answer = () => ({ status: 404, body: '<html>no such page</html>' });
    await expect(client.status()).rejects.toThrow('server extension');
    server.answer = () => ({ status: 404, body: { message: 'There is no run x.', hint: '' } });
    await expect(client.run('x')).rejects.toThrow('There is no run x.');
  });

  it('tells that nobody answers', async () => {
    await server.stop();
    await expect(client.status()).rejects.toMatchObject({ status: 0 });
  });
});

describe('the filter', () => {
  it('lets through what the server would', () => {
    const filter = within({ ...EVERYTHING, search: 'BIRTH' }, 'pipeline', 'p');
    expect(matches(filter, row('births'))).toBe(true);
    expect(matches(filter, row('deaths'))).toBe(false);
    expect(matches(filter, row('births', { pipeline: 'q' }))).toBe(false);
    expect(matches(filter, row('births', { archived: true }))).toBe(false);
    expect(toQuery(filter)).toMatchObject({ search: 'BIRTH', pipeline: 'p', archived: undefined });
    expect(matches(within(EVERYTHING, 'state', 'failed'), row('x'))).toBe(false);
  });
});

describe('the list', () => {
  const all = Array.from({ length: 250 }, (_, at) => row(`run-${at}`));
  const facets = { state: [], kind: [], pipeline: [{ value: 'p', count: 200 }, { value: 'q', count: 50 }], total: 250, change: 1 };

  beforeEach(() => {
    server.answer = (path, query) => {
      if (path === 'facets') {
        return { body: facets };
      }
      const some = query.has('pipeline') ? all.slice(0, query.get('pipeline') === 'p' ? 200 : 50) : all;
      const offset = Number(query.get('offset'));
      const runs = some.slice(offset, offset + Number(query.get('limit')));
      return { body: { runs, total: some.length, next: null, change: 1, now: Date.now() / 1000 } };
    };
  });

  it('reads the pages that are looked at, and no others', async () => {
    const list = new RunList(client);
    await list.refresh();
    expect(list.length).toBe(250);
    expect(list.line(0)).toMatchObject({ kind: 'run', row: { id: 'run-0' }, of: 250 });
    expect(list.line(240)).toMatchObject({ kind: 'run', row: undefined });
    list.look(230, 250);
    await vi.waitFor(() => expect(list.line(240)).toMatchObject({ row: { id: 'run-240' } }));
    expect(list.line(150)).toMatchObject({ row: undefined });
    expect(list.find('run-240')).toBe(240);
  });

  it('draws a change at once and keeps what is newer', async () => {
    const list = new RunList(client);
    await list.refresh();
    list.onEvent({ kind: 'changed', revision: 9, run_id: 'run-3', row: row('run-3', { state: 'running', revision: 9 }) });
    expect(list.line(3)).toMatchObject({ row: { state: 'running' } });
    await list.refresh();
    expect(list.line(3)).toMatchObject({ row: { state: 'running', revision: 9 } });
  });

  it('opens and closes groups', async () => {
    const list = new RunList(client);
    await list.show(EVERYTHING, 'pipeline');
    expect(list.line(0)).toMatchObject({ kind: 'group', value: 'p', count: 200, isOpen: true });
    expect(list.length).toBe(202);
    list.toggle('p');
    expect(list.length).toBe(2);
    list.toggle('q');
    await vi.waitFor(() => expect(list.length).toBe(52));
    expect(list.line(2)).toMatchObject({ kind: 'run', depth: 1, at: 0 });
  });

  it('asks nothing by itself while nobody looks', async () => {
    const list = new RunList(client);
    await list.refresh();
    const before = server.asked.length;
    list.isWatched = false;
    list.onEvent({ kind: 'changed', revision: 9, run_id: 'new', row: row('new') });
    await new Promise(resolve => setTimeout(resolve, 250));
    expect(server.asked).toHaveLength(before);
  });
});

describe('an open run', () => {
  it('reads only what is new, and puts new tasks behind', async () => {
    const model = new RunModel(client, 'r');
    server.answer = () => ({ body: detail() });
    await model.refresh();
    const [known] = detail().tasks;
    const fresh = { ...known, id: 'fresh' };
    server.answer = () => ({ body: detail({ revision: 6, tasks: [{ ...known, state: 'failed' }, fresh] as RunDetail['tasks'] }) });
    await model.refresh();
    expect(server.asked[1]?.query.get('since')).toBe('5');
    expect(model.run?.tasks).toHaveLength(detail().tasks.length + 1);
    expect(model.run?.tasks[0]).toMatchObject({ id: known?.id, state: 'failed' });
    expect(model.run?.tasks.at(-1)?.id).toBe('fresh');
  });

  it('shows what an event holds before anything is read', async () => {
    const model = new RunModel(client, 'r');
    server.answer = () => ({ body: detail() });
    await model.refresh();
    const id = detail().tasks[0]?.id ?? '';
    const change = { id, state: 'running' as const, started: 3, finished: null, attempt: 2, cached: false };
    const event: RunEvent = { kind: 'changed', revision: 6, run_id: 'r', row: row('r', { state: 'running' }), tasks: [change] };
    model.onEvent({ ...event, run_id: 'another' });
    expect(model.run?.state).toBe('failed');
    model.onEvent(event);
    expect(model.run?.state).toBe('running');
    expect(model.run?.tasks[0]).toMatchObject({ state: 'running', attempt: 2 });
    model.onEvent({ kind: 'deleted', revision: 7, run_id: 'r' });
    expect(model.isGone).toBe(true);
  });
});

describe('the status', () => {
  it('tells the end of a run that was seen running, once', async () => {
    server.answer = path => ({ body: path === 'status' ? { states: { running: 1 } } : { runs: [row('r', { state: 'running' })] } });
    const model = new StatusModel(client);
    const told: string[] = [];
    model.ended.connect((_, { id }) => told.push(id));
    await model.refresh();
    expect(model.isWatched).toBe(true);
    const end: RunEvent = { kind: 'changed', revision: 2, run_id: 'r', row: row('r', { state: 'failed' }) };
    model.onEvent(end);
    model.onEvent(end);
    model.onEvent({ ...end, run_id: 'old', row: row('old', { state: 'failed' }) });
    expect(told).toEqual(['r']);
  });
});
