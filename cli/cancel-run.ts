import { WorkflowNotFoundError } from '@temporalio/client';
import type { HomePaths } from '../workers/home.ts';
import { Session } from '../workers/session.ts';
import type { Act, RunRequest, RunSummary } from '../workflows/index.ts';
import { newAct, type Saying } from './act-on-run.ts';
import type { Invocation } from './command.ts';
import { connectClient, workerSettings } from './temporal-client.ts';

interface Around {
  invocation: Invocation;
  paths: HomePaths;
}

/** Cancels a run on its server and waits for its end. One that the server has forgotten is over. */
export async function cancelRun(id: string, saying: Saying, { invocation, paths }: Around): Promise<string> {
  const session = await Session.open(paths, workerSettings(invocation, paths), () => undefined);
  try {
    const client = await connectClient(invocation.env, session.port);
    const handle = client.workflow.getHandle<(request: RunRequest) => Promise<RunSummary>>(`run-${id}`);
    const said = newAct('cancel', saying);
    await handle.executeUpdate<boolean, [Act]>('act', { args: [said], updateId: said.id });
    return (await handle.result()).state;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'over: the server knows no such run';
    throw error;
  } finally {
    await session.close();
  }
}
