import { parseDigest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import { writeAct } from '../lineage/act.ts';
import type { ActivityDeps } from './deps.ts';
import type { Act, RunRequest } from './run-request.ts';

export interface ObeyedAct {
  request: RunRequest;
  act: Act;
  /** Of the stage it was about, as far as it was known. */
  key?: StageKey;
}

/** Writes down what a person did to a run. */
export async function noteAct({ store }: ActivityDeps, { request, act, key }: ObeyedAct): Promise<void> {
  const { id, stage, by, reason, at } = act;
  await writeAct(
    store.documents,
    {
      schema: 'fretsaw/act/v1',
      run: request.run,
      ...{ id, act: act.act, by, reason, at },
      ...(stage === undefined ? {} : { stage }),
      ...(key === undefined ? {} : { key }),
    },
    parseDigest(request.planDigest),
  );
}
