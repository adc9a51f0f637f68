/** What the server answers, as `kfp_magics/server/openapi.yaml` has it. */

import type { Failure, Json, Run, RunKind, State, Task, Values } from '../view/types';

export interface Progress {
  total: number;
  done: number;
  pending: number;
  running: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  skipped: number;
  unknown: number;
}

/** What a list shows of a run. */
export interface RunRow extends Omit<Run, 'tasks' | 'parameters' | 'outputs' | 'error'> {
  error: string;
  /** The notebook's path as Jupyter knows it; empty when it does not. */
  notebook_path: string;
  archived: boolean;
  revision: number;
  progress: Progress;
}

export interface RunPage {
  runs: RunRow[];
  total: number;
  next: string | null;
  change: number;
  now: number;
}

export interface RunDetail extends Run {
  notebook_path: string;
  revision: number;
  archived: boolean;
  shortened: boolean;
  now: number;
  logs: boolean;
}

export interface Status {
  version: string;
  change: number;
  now: number;
  states: Partial<Record<State, number>>;
  backends: string[];
}

export interface FacetValue {
  value: string;
  count: number;
}

export type FacetName = 'state' | 'kind' | 'pipeline' | 'experiment' | 'notebook' | 'backend' | 'started_by';

export type Facets = Record<FacetName, FacetValue[]> & { total: number; change: number };

export interface Parameter {
  name: string;
  type: string;
  required: boolean;
  artifact?: boolean;
  default?: Json;
}

export interface CellSource {
  cell_id: string;
  source: string;
  label: string;
  line_offset: number;
}

export interface Pipeline {
  name: string;
  ir: string;
  parameters: Parameter[];
  arguments: Values;
  tasks: Task[];
  sources: { [component: string]: CellSource };
  experiment: string;
}

export interface LogPiece {
  task: string;
  attempt: number;
  attempts: number;
  start: number;
  end: number;
  size: number;
  text: string;
  ended: boolean;
}

export interface LogMatch {
  start: number;
  end: number;
  line_start: number;
  text: string;
}

export interface LogMatches {
  attempt: number;
  matches: LogMatch[];
  next: number | null;
  size: number;
}

export interface ArtifactFile {
  path: string;
  size: number;
  media_type: string;
}

export interface ArtifactInfo {
  name: string;
  io: 'input' | 'output';
  type: string;
  uri: string;
  metadata: Values;
  kind: 'file' | 'folder' | 'remote' | 'none';
  media_type: string;
  size: number | null;
  files: ArtifactFile[];
}

export interface ComparedRow {
  what: string;
  values: Json[];
  same: boolean;
}

export interface Comparison {
  runs: RunRow[];
  parameters: ComparedRow[];
  metrics: ComparedRow[];
  states: ComparedRow[];
  durations: ComparedRow[];
  images: ComparedRow[];
  sources: { step: string; diffs: string[] }[];
}

export interface BadgeRun {
  run_id: string;
  task_id: string;
  state: State;
  kind: RunKind;
  started: number | null;
  finished: number | null;
  cached: boolean;
  error: Failure | null;
  count: number;
  source: string | null;
}

export interface BadgeImage {
  run_id: string;
  state: State;
  reference: string;
  finished: number | null;
  source: string | null;
}

export interface Badge {
  cell_id: string;
  component: string;
  run: BadgeRun | null;
  image: BadgeImage | null;
}

export interface TaskChange {
  id: string;
  state: State;
  started: number | null;
  finished: number | null;
  attempt: number;
  cached: boolean;
}

/** What arrives on Jupyter's event stream. */
export interface RunEvent {
  kind: 'changed' | 'deleted' | 'reset';
  revision: number;
  run_id?: string;
  row?: RunRow;
  tasks?: TaskChange[];
  complete?: boolean;
}

export const EVENT_SCHEMA = 'urn:kfp-magics:events:run';
