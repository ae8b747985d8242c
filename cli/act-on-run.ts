import { randomBytes } from 'node:crypto';
import { userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import type { Act } from '../workflows/index.ts';
import { exitCodes, UsageError, type Invocation } from './command.ts';
import { findRun } from './find-run.ts';
import { liveClient } from './live-states.ts';

/** What a person says to a run, by the command line. */
export interface Saying {
  run: string;
  stage: string | undefined;
  by: string;
  reason: string;
}

export function parseSaying(invocation: Invocation, needs: 'reason' | 'nothing'): Saying {
  const { values, positionals } = parseArgs({
    args: invocation.args,
    allowPositionals: true,
    options: { reason: { type: 'string', default: '' }, by: { type: 'string' } },
  });
  const [run, stage, ...more] = positionals;
  if (run === undefined || more.length > 0)
    throw new UsageError('expected a run (or `last`) and perhaps a stage');
  if (needs === 'reason' && values.reason === '')
    throw new UsageError('--reason <text> is required: it is kept');
  return { run, stage, by: values.by ?? userInfo().username, reason: values.reason };
}

/** Says it to the run's workflow, which writes it down; what changes nothing is not written. */
export async function actOnRun(act: Act['act'], saying: Saying, invocation: Invocation): Promise<number> {
  const paths = homePaths(invocation.env, invocation.cwd);
  const store = openHomeStore(paths);
  const { started, finished, plan } = await findRun(store, saying.run);
  const { stage } = saying;
  if (stage !== undefined && !plan.stages.some(({ name }) => name === stage))
    throw new UsageError(`run ${started.run} has no stage ${stage}`);
  const client = finished === undefined ? await liveClient(invocation, paths) : undefined;
  if (client === undefined) throw new UsageError(`run ${started.run} is not at work: nothing hears it`);
  const said = newAct(act, saying);
  try {
    const run = client.workflow.getHandle(`run-${started.run}`);
    const isNew = await run.executeUpdate<boolean, [Act]>('act', { args: [said], updateId: said.id });
    tell(invocation, { run: started.run, said, isNew });
  } finally {
    await client.connection.close();
  }
  return exitCodes.ok;
}

export function newAct(act: Act['act'], { stage, by, reason }: Saying): Act {
  return {
    id: `${Date.now().toString(36)}-${randomBytes(4).toString('hex')}`,
    act,
    ...(stage === undefined ? {} : { stage }),
    by,
    reason,
    at: new Date().toISOString(),
  };
}

interface Told {
  run: string;
  said: Act;
  isNew: boolean;
}

function tell({ terminal, json }: Invocation, { run, said, isNew }: Told): void {
  const { stage, act } = said;
  const what = isNew ? 'noted' : 'it was so already, or there is nothing to ' + act;
  if (json) terminal.out(`${JSON.stringify({ run, ...said, isNew })}\n`);
  else terminal.out(`${act} ${run}${stage === undefined ? '' : ` ${stage}`}: ${what}\n`);
}
