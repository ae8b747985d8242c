import { defineSearchAttributeKey } from '@temporalio/common';
import { upsertSearchAttributes, workflowInfo } from '@temporalio/workflow';
import type { RunSummary } from '../activities/run-request.ts';

/** `approval`: a person is asked for, whatever else is at work. */
export type RunState = 'running' | 'paused' | 'approval' | RunSummary['state'];

const stateKey = defineSearchAttributeKey('FretsawState', 'KEYWORD');

/**
 * Keeps a run's state where runs are searched. A run that was started without it (an older one, or on
 * a cluster that does not know it) keeps none: setting it there would fail the workflow for ever.
 */
export class StateAttribute {
  #told = workflowInfo().typedSearchAttributes.get(stateKey);

  tell(state: RunState): void {
    if (this.#told === undefined || this.#told === state) return;
    this.#told = state;
    upsertSearchAttributes([{ key: stateKey, value: state }]);
  }
}
