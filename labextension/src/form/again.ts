/** Starting runs from the panel: one that was again, or a compiled pipeline from a file. */

import type { Client } from '../api/client';
import type { RunRow } from '../api/types';
import { ask, type Filled } from './form';

/** Starts a run's pipeline again with what the user fills in. */
export async function runAgain(client: Client, id: string): Promise<RunRow | undefined> {
  const filled = await ask(await client.pipeline(id));
  return filled === undefined ? undefined : client.clone(id, sent(filled));
}

/** Starts a compiled pipeline with what the user fills in. */
export async function runCompiled(client: Client, ir: string): Promise<RunRow | undefined> {
  const filled = await ask(await client.describe(ir));
  return filled === undefined ? undefined : client.submit({ ir, ...sent(filled) });
}

function sent({ name, arguments: values, cache }: Filled): { name?: string; arguments: Filled['arguments']; cache: boolean } {
  return { ...(name === '' ? {} : { name }), arguments: values, cache };
}
