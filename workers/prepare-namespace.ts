import type { NativeConnection } from '@temporalio/worker';

const retentionDays = 30;

/** The dev server forgets closed workflows after a day; a run of weeks is still asked about later. */
export async function prepareNamespace(connection: NativeConnection, namespace: string): Promise<void> {
  const seconds = retentionDays * 86_400;
  const { config } = await connection.workflowService.describeNamespace({ namespace });
  const held = config?.workflowExecutionRetentionTtl?.seconds;
  if (Number(held ?? 0) === seconds) return;
  await connection.workflowService.updateNamespace({
    namespace,
    config: { workflowExecutionRetentionTtl: { seconds: seconds as never } },
  });
}
