/** Asks the server. One method for each route, and one place where its errors become ours. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { t } from '../view/i18n';
import type { Json, Task, Values } from '../view/types';
import type {
  ArtifactInfo,
  Badge,
  Comparison,
  Facets,
  LogMatches,
  LogPiece,
  Pipeline,
  RunDetail,
  RunPage,
  RunRow,
  Status
} from './types';

/** What the server refused or could not do, for a person. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly hint: string,
    /** HTTP status; 0 when the server was not reached. */
    readonly status: number
  ) {
    super(message);
  }
}

export type Query = { [name: string]: string | number | boolean | readonly string[] | undefined };

/** Which artifact of which task. */
export type ArtifactKey = { runId: string; task: string; name: string; io: 'input' | 'output'; index?: number };

const KEPT = 50; // answers that are remembered with their ETag

export class Client {
  /** Path → last answer and its tag, so that what has not changed costs next to nothing. */
  private readonly answers = new Map<string, { tag: string; value: unknown }>();

  constructor(private readonly settings: ServerConnection.ISettings) {}

  status(): Promise<Status> {
    return this.read('status');
  }

  runs(query: Query): Promise<RunPage> {
    return this.read('runs', query);
  }

  facets(query: Query): Promise<Facets> {
    return this.read('facets', query);
  }

  run(id: string, since = 0): Promise<RunDetail> {
    return this.read(runPath(id), { since: since || undefined, value_limit: 2000 });
  }

  task(id: string, task: string): Promise<Task> {
    return this.read(`${runPath(id)}/task`, { task });
  }

  pipeline(id: string): Promise<Pipeline> {
    return this.read(`${runPath(id)}/pipeline`);
  }

  describe(ir: string): Promise<Pipeline> {
    return this.send('POST', 'pipelines/describe', { ir });
  }

  badges(notebook: string): Promise<{ notebook: string; cells: Badge[] }> {
    return this.read('badges', { notebook });
  }

  compare(ids: readonly string[]): Promise<Comparison> {
    return this.read('compare', { run: ids });
  }

  log(id: string, query: { task: string; attempt: number; offset: number; limit?: number; follow?: number }, signal?: AbortSignal): Promise<LogPiece> {
    return this.read(`${runPath(id)}/log`, query, signal);
  }

  searchLog(id: string, query: { task: string; attempt: number; text: string; offset: number }, signal?: AbortSignal): Promise<LogMatches> {
    return this.read(`${runPath(id)}/log/search`, query, signal);
  }

  artifactInfo({ runId, ...key }: ArtifactKey): Promise<ArtifactInfo> {
    return this.read(`${runPath(runId)}/artifact/info`, key);
  }

  /** Bytes of an artifact, from its beginning. */
  async artifactBytes({ runId, ...key }: ArtifactKey, path: string, atMost: number): Promise<Blob> {
    const address = this.address(`${runPath(runId)}/artifact`, { ...key, path: path || undefined });
    const headers = { Range: `bytes=0-${atMost - 1}` };
    const response = await this.fetch(address, { headers, cache: 'default' });
    // A server that knows no ranges sends everything.
    return (await response.blob()).slice(0, atMost);
  }

  /** Where an artifact can be opened or saved from. */
  artifactAddress({ runId, ...key }: ArtifactKey, options: { path?: string; download?: boolean; scripts?: boolean } = {}): string {
    return this.address(`${runPath(runId)}/artifact`, {
      ...key,
      path: options.path || undefined,
      download: options.download || undefined,
      scripts: options.scripts || undefined
    });
  }

  /** Where a whole log can be saved from. */
  logAddress(id: string, task: string, attempt: number): string {
    return this.address(`${runPath(id)}/log/file`, { task, attempt: attempt || undefined });
  }

  cancel(id: string): Promise<RunRow> {
    return this.send('POST', `${runPath(id)}/cancel`);
  }

  retry(id: string): Promise<RunRow> {
    return this.send('POST', `${runPath(id)}/retry`);
  }

  clone(id: string, changes: { arguments?: Values; name?: string; cache?: boolean }): Promise<RunRow> {
    return this.send('POST', `${runPath(id)}/clone`, changes);
  }

  submit(what: { ir: string; arguments?: Values; name?: string; cache?: boolean }): Promise<RunRow> {
    return this.send('POST', 'runs', what);
  }

  archive(id: string, archived: boolean): Promise<RunRow> {
    return this.send('POST', `${runPath(id)}/archive`, { archived });
  }

  async delete(id: string): Promise<void> {
    await this.fetch(this.address(runPath(id)), { method: 'DELETE' });
  }

  private async read<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
    const address = this.address(path, query);
    const known = this.answers.get(address);
    const headers: Record<string, string> = known === undefined ? {} : { 'If-None-Match': known.tag };
    const response = await this.fetch(address, { headers, signal });
    if (response.status === 304 && known !== undefined) {
      return known.value as T;
    }
    const value = (await response.json()) as T;
    const tag = response.headers.get('ETag');
    this.answers.delete(address);
    if (tag !== null) {
      this.answers.set(address, { tag, value });
      if (this.answers.size > KEPT) {
        this.answers.delete(this.answers.keys().next().value ?? '');
      }
    }
    return value;
  }

  private async send<T>(method: string, path: string, body: Json = {}): Promise<T> {
    const response = await this.fetch(this.address(path), { method, body: JSON.stringify(body) });
    return (await response.json()) as T;
  }

  private async fetch(address: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(address, init, this.settings);
    } catch (error) {
      if (init.signal?.aborted === true) {
        throw error;
      }
      throw new ApiError(t('The Jupyter server does not answer.'), t('It is asked again until it does.'), 0);
    }
    if (!response.ok && response.status !== 304) {
      throw await refusal(response);
    }
    return response;
  }

  private address(path: string, query: Query = {}): string {
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== undefined) {
          words.append(name, String(one));
        }
      }
    }
    const asked = words.toString();
    return URLExt.join(this.settings.baseUrl, 'kfp-magics/api', path) + (asked === '' ? '' : `?${asked}`);
  }
}

function runPath(id: string): string {
  return `runs/${encodeURIComponent(id)}`;
}

async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const { message, hint } = JSON.parse(text) as { message?: unknown; hint?: unknown };
    if (typeof message === 'string') {
      return new ApiError(message, typeof hint === 'string' ? hint : '', response.status);
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) {
      throw error;
    }
  }
  if (response.status === 404) {
    const hint = t('Is it enabled? jupyter server extension list');
    return new ApiError(t('The server extension of kfp-magics is not there.'), hint, 404);
  }
  return new ApiError(t('The server answered %1 %2.', response.status, response.statusText), '', response.status);
}
