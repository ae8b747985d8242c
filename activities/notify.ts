import type { ActivityDeps } from './deps.ts';
import type { News, RunRequest } from './run-request.ts';

export interface Notice {
  request: Pick<RunRequest, 'run' | 'spec'>;
  news: News;
  /** By the workflow's clock, so that telling it twice is telling the same. */
  at: string;
}

/** Tells people, if this worker knows how. That nobody can be reached stops no run. */
export async function notify({ notifier }: Pick<ActivityDeps, 'notifier'>, notice: Notice): Promise<void> {
  await notifier?.(notice);
}
