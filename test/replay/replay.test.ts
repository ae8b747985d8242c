import { DeterminismViolationError } from '@temporalio/workflow';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ensureBuilt, root } from '../support/built.ts';

const folder = join(root, 'test', 'replay', 'histories');
const bundle = { codePath: join(root, 'dist', 'workflows.js') };

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  await ensureBuilt();
}, 120_000);

function readHistory(name: string): { events: { eventType: string; activityTaskScheduledEventAttributes?: { activityType: { name: string } } }[] } {
  return JSON.parse(readFileSync(join(folder, name), 'utf8')) as ReturnType<typeof readHistory>;
}

test('every recorded history replays on the workflows as they are now', async () => {
  const names = readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith('.json'));
  expect(names.length).toBeGreaterThan(5);
  const histories = names.map((name) => ({ workflowId: name, history: readHistory(name) }));
  const failed: string[] = [];
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowBundle: bundle }, histories)) {
    if (error !== undefined) failed.push(`${workflowId}: ${error.message}`);
  }
  expect(failed).toEqual([]);
});

test('a history that the workflows would not have made is noticed', async () => {
  const name = readdirSync(folder).find((file) => file.startsWith('runStage-completed')) ?? '';
  const history = readHistory(name);
  for (const event of history.events) {
    if (event.activityTaskScheduledEventAttributes !== undefined) event.activityTaskScheduledEventAttributes.activityType.name = 'another';
  }
  await expect(Worker.runReplayHistory({ workflowBundle: bundle }, history, 'changed')).rejects.toThrow(DeterminismViolationError);
});
