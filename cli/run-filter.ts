import { runAttributes } from '../workers/search-attributes.ts';
import { UsageError } from './command.ts';

/** What `status` may ask of runs; absent: anything. */
export interface RunFilter {
  spec?: string;
  state?: string;
  /** The beginning of one. */
  commit?: string;
  owner?: string;
  /** A pool that a stage of it asks for. */
  pool?: string;
  /** A kind that a stage of it has. */
  kind?: string;
}

/** `interrupted`: it has not ended, and nothing works on it now. */
export const runStates = ['running', 'paused', 'approval', 'interrupted', 'done', 'failed', 'cancelled'];

const asked = { type: 'string' } as const;
export const filterOptions = {
  spec: asked,
  state: asked,
  commit: asked,
  owner: asked,
  pool: asked,
  kind: asked,
} as const;

export function parseFilter(values: Readonly<Record<string, unknown>>): RunFilter {
  const given = Object.keys(filterOptions).flatMap((name) => {
    const value = values[name];
    if (typeof value !== 'string') return [];
    if (/['"\\]/.test(value)) throw new UsageError(`--${name}: quotes and backslashes are in no such name`);
    return [[name, value] as const];
  });
  const filter: RunFilter = Object.fromEntries(given);
  if (filter.state !== undefined && !runStates.includes(filter.state))
    throw new UsageError(`--state: expected ${runStates.join(', ')}; found ${filter.state}`);
  return filter;
}

/**
 * The filter, for the runs from one id to another, as Temporal's visibility understands it. It is there to
 * leave out runs that need not be looked at: what it lets through is held against the filter again. Runs
 * without attributes are not found by it, and `interrupted` is nothing that a server knows.
 */
export function visibilityQuery(
  { spec, state, commit, owner, pool, kind }: RunFilter,
  { oldest, newest }: { oldest: string; newest: string },
): string {
  const { name: commitName } = runAttributes.commit;
  const isAtWork = state === 'running' || state === 'paused' || state === 'approval';
  return [
    `WorkflowType = 'runPipeline' AND ${runAttributes.spec.name} IS NOT NULL`,
    `WorkflowId BETWEEN 'run-${oldest}' AND 'run-${newest}'`,
    equals(runAttributes.spec, spec),
    equals(runAttributes.state, state === 'interrupted' ? undefined : state),
    isAtWork ? "ExecutionStatus = 'Running'" : '',
    commit === undefined ? '' : `${commitName} STARTS_WITH '${commit}'`,
    equals(runAttributes.owner, owner),
    equals(runAttributes.pools, pool),
    equals(runAttributes.kinds, kind),
  ]
    .filter((part) => part !== '')
    .join(' AND ');
}

function equals({ name }: { name: string }, value: string | undefined): string {
  return value === undefined ? '' : `${name} = '${value}'`;
}
