export { runPipeline } from './run-pipeline.ts';
export { runStage } from './run-stage.ts';
export type { Act, RunRequest, RunSummary } from '../activities/run-request.ts';
export type { Outputs, StageOutcome, StageState } from '../activities/stage-request.ts';
export type { RunChanges, StageWork } from './messages.ts';
