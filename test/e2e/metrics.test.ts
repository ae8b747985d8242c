import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test(
  'a worker tells Prometheus of its stages and of Temporal, and the dashboard asks for nothing else',
  { timeout: 240_000 },
  async () => {
    const wait = `while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done`;
    rig.write(
      'a.yaml',
      `fretsaw: v1
name: measured
stages:
  made: { kind: command, with: { argv: [sh, -c, 'echo > "$1"/x', sh, "{out}"], outputs: { out: out } } }
  bad: { kind: command, with: { argv: [sh, -c, 'exit 3', "{out}"], outputs: { out: out } } }
  slow: { kind: command, inputs: { a: made.out }, with: { argv: [sh, -c, '${wait}; echo > "$1"/x', sh, "{out}"], outputs: { out: out } } }
`,
    );
    const port = await freePort();
    const run = rig.start(['run', 'a.yaml'], { FRETSAW_METRICS: `127.0.0.1:${port}` });
    const look = async (): Promise<string> =>
      await fetch(`http://127.0.0.1:${port}/metrics`).then(
        (answer) => answer.text(),
        () => '',
      );
    await rig.until(
      async () => ((await look()).match(/fretsaw_attempt_duration_seconds_count/g) ?? []).length >= 2,
      120,
    );
    const text = await look();
    rig.write('go', '');
    await run.ended;
    expect(text).toMatch(/fretsaw_attempt_duration_seconds_count\{[^}]*code="COMMAND_FAILED"[^}]*\} 1/);
    expect(text).toMatch(/fretsaw_cache_misses_total\S* \d/);
    const known = [...text.matchAll(/^([a-z_]+?)(_bucket|_sum|_count)?[{ ]/gm)].map(([, name]) => name);
    const dashboard = readFileSync(join(root, 'infra', 'grafana', 'fretsaw.json'), 'utf8');
    const temporals = new Set(dashboard.match(/temporal_[a-z_]+/g));
    // A counter appears with its first count; what failed may never have.
    temporals.delete('temporal_workflow_task_execution_failed');
    for (const name of temporals) expect(known).toContain(name.replace(/_bucket$/, ''));
  },
);
