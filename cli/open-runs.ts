import type { Client } from '@temporalio/client';
import { hostname } from 'node:os';
import { isAlive, type ProcessIdentity } from '../workers/process-identity.ts';

/** What a run's workflow carries for other command lines to see. */
export interface RunMemo extends Record<string, unknown> {
  spec: string;
  plan: string;
  /** The command line that started it. */
  owner: ProcessIdentity | undefined;
  recompute: { stage: string; reason: string } | null;
}

export interface WantedRun {
  planDigest: string;
  recompute: { stage: string; reason: string } | undefined;
}

/**
 * A run of the same plan whose command line was killed: it is taken up instead of starting another.
 * Runs of other plans that lost theirs go on as well, and are named.
 */
export async function findOpenRun(
  client: Client,
  wanted: WantedRun,
  tell: (text: string) => void,
): Promise<string | undefined> {
  let found: string | undefined;
  for await (const { workflowId, memo } of client.workflow.list({
    query: "WorkflowType = 'runPipeline' AND ExecutionStatus = 'Running'",
  })) {
    const { spec, plan, owner, recompute } = (memo ?? {}) as Partial<RunMemo>;
    // Whether a command line of another host lives is not known here.
    if (owner?.host !== hostname() || isAlive(owner)) continue;
    const id = workflowId.slice('run-'.length);
    const isSame =
      plan === wanted.planDigest &&
      JSON.stringify(recompute ?? null) === JSON.stringify(wanted.recompute ?? null);
    if (isSame && found === undefined) {
      tell(`going on with run ${id}, whose command line was killed`);
      found = id;
    } else
      tell(
        `run ${id} (${spec ?? 'unknown'}) goes on too: its command line was killed; fretsaw cancel ${id} stops it`,
      );
  }
  return found;
}
