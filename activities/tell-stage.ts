import { WorkflowNotFoundError } from '@temporalio/client';
import { hexOf } from '../core/digest.ts';
import type { ActivityDeps } from './deps.ts';
import type { StageRequest } from './stage-request.ts';

export interface StageWord {
  request: StageRequest;
  word: 'pause' | 'resume';
}

/** Says to a stage whether its run wants it now. False: it is not at work (not yet, or no more). */
export async function tellStage({ client }: ActivityDeps, { request, word }: StageWord): Promise<boolean> {
  try {
    await client.workflow.getHandle(`stage-${hexOf(request.key)}`).signal(word, request.run);
    return true;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
