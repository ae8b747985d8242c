import type { Work } from '../execute-stage.ts';
import type { Outputs } from '../stage-request.ts';

export async function importArtifact(work: Work): Promise<Outputs> {
  throw new Error(`bug: import ${work.request.stage}`);
}
