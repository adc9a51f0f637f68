/** Which runs a list shows. */

import type { Query } from '../api/client';
import type { FacetName, RunRow } from '../api/types';
import type { State } from '../view/types';

export type Grouping = 'none' | 'pipeline' | 'experiment' | 'notebook' | 'state';

export interface Filter {
  search: string;
  states: readonly State[];
  /** Values that facets must have, besides the state. */
  facets: Partial<Record<FacetName, string>>;
  archived: boolean;
}

export const EVERYTHING: Filter = { search: '', states: [], facets: {}, archived: false };

/** The filter in the server's words. */
export function toQuery(filter: Filter): Query {
  return {
    search: filter.search || undefined,
    state: filter.states,
    archived: filter.archived ? 'only' : undefined,
    ...filter.facets
  };
}

/** Whether a run belongs to a list. */
export function matches(filter: Filter, row: RunRow): boolean {
  const text = `${row.name} ${row.pipeline} ${row.id}`.toLowerCase();
  return (
    row.archived === filter.archived &&
    (filter.search === '' || text.includes(filter.search.toLowerCase())) &&
    (filter.states.length === 0 || filter.states.includes(row.state)) &&
    Object.entries(filter.facets).every(([name, value]) => row[name as FacetName] === value)
  );
}

/** The filter for one group of a list. */
export function within(filter: Filter, grouping: Grouping, value: string): Filter {
  switch (grouping) {
    case 'none':
      return filter;
    case 'state':
      return { ...filter, states: [value as State] };
    default:
      return { ...filter, facets: { ...filter.facets, [grouping]: value } };
  }
}
