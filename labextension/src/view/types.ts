/** The JSON shape of a run, as the Python model writes it (`Run.to_json`). */

export type State = 'pending' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'skipped' | 'unknown';

export type Values = { [key: string]: Json };

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface Failure {
  message: string;
  hint: string;
  cell_id: string;
  line: number | null;
  text: string;
  traceback: string;
}

export interface Artifact {
  name: string;
  io: 'input' | 'output';
  type: string;
  uri: string;
  metadata: Values;
}

export interface Task {
  id: string;
  name: string;
  kind: string;
  component: string;
  parent: string;
  needs: string[];
  state: State;
  started: number | null;
  finished: number | null;
  attempt: number;
  image: string;
  inputs: Values;
  outputs: Values;
  artifacts: Artifact[];
  error: Failure | null;
  cached: boolean;
  reason: string;
  cell_id: string;
}

export type RunKind = 'pipeline' | 'build' | 'try';

export interface Run {
  id: string;
  name: string;
  kind: RunKind;
  pipeline: string;
  backend: string;
  target: string;
  state: State;
  attempt: number;
  tasks: Task[];
  parameters: Values;
  outputs: Values;
  created: number;
  started: number | null;
  finished: number | null;
  url: string;
  error: Failure | null;
  experiment: string;
  notebook: string;
  started_by: string;
  /** Since when its backend has not told where it stands. */
  stale?: number | null;
  stale_reason?: string;
}

const FINAL: ReadonlySet<State> = new Set<State>(['succeeded', 'failed', 'cancelled', 'skipped']);

/** Whether nothing follows this state. */
export function isFinal(state: State): boolean {
  return FINAL.has(state);
}

/** What the view wants of whoever shows a collection of tasks: graph, timeline, table. */
export interface TasksView {
  readonly node: HTMLElement;
  update(tasks: readonly Task[], selected: string, now: number): void;
  focus(): void;
}

/** Whether a task does work itself, rather than holding other tasks. */
export function isStep(task: Task): boolean {
  return task.kind === 'step' || task.kind === 'importer' || task.kind === 'image';
}

/** The task that tells most about a run: the failed step, a running one, or else the one that started last. */
export function mostTelling(run: Run): Task | undefined {
  const started = run.tasks.filter(task => isStep(task) && task.started !== null);
  const of = (state: State): Task[] => started.filter(task => task.state === state);
  const among = [of('failed'), of('running'), started].find(tasks => tasks.length > 0) ?? [];
  return among.reduce<Task | undefined>(
    (best, task) => (best === undefined || (task.started ?? 0) >= (best.started ?? 0) ? task : best),
    undefined
  );
}

/** Whether a run can go on where it ended; images are built anew by the next build. */
export function canRetry({ state, kind }: { state?: State; kind?: RunKind }): boolean {
  return kind !== 'build' && (state === 'failed' || state === 'cancelled');
}
