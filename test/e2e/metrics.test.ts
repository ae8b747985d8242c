import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { root } from '../support/built.ts';
import { CliRig } from '../support/cli-rig.ts';
import { freePort } from '../support/free-port.ts';
import { smallTraining } from '../support/small-training.ts';

let rig: CliRig;
beforeEach(async () => {
  rig = await CliRig.open();
}, 240_000);
afterEach(async () => {
  await rig.close();
});

const command = (name: string, script: string, more = ''): string =>
  `  ${name}: { kind: command, ${more}with: { argv: [sh, -c, '${script}', sh, "{out}"], outputs: { out: out } } }\n`;

test(
  'a worker tells Prometheus of its stages and of Temporal, and the dashboard asks for nothing else',
  { timeout: 240_000 },
  async () => {
    const made = command('made', 'echo > "$1"/x');
    rig.write('before.yaml', `fretsaw: v1\nname: before\nstages:\n${made}`);
    expect((await rig.run(['run', 'before.yaml'])).code).toBe(0);
    const wait = `while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done`;
    const training = smallTraining({ steps: 40, batchSize: 2, snapshotEvery: 1000, evaluateEvery: 1000 });
    const stages = [
      made,
      command('bad', 'exit 3'),
      command('slow', `${wait}; echo > "$1"/x`, 'inputs: { a: made.out }, '),
      training,
    ];
    rig.write('a.yaml', `fretsaw: v1\nname: measured\nstages:\n${stages.join('')}`);
    const port = await freePort();
    const run = rig.start(['run', 'a.yaml'], { FRETSAW_METRICS: `127.0.0.1:${port}` });
    const look = async (): Promise<string> =>
      await fetch(`http://127.0.0.1:${port}/metrics`).then(
        (answer) => answer.text(),
        () => '',
      );
    const isTold = async (): Promise<boolean> =>
      /fretsaw_attempt_duration_seconds_count\{[^}]*kind="pretrain"/.test(await look());
    await rig.until(isTold, 180);
    const text = await look();
    rig.write('go', '');
    await run.ended;
    expect(text).toMatch(/fretsaw_attempt_duration_seconds_count\{[^}]*code="COMMAND_FAILED"[^}]*\} 1/);
    expect(text).toMatch(/fretsaw_cache_misses_total\S* \d/);
    expect(text).toMatch(/fretsaw_cache_hits_total\S* 1/);
    const known = [...text.matchAll(/^([a-z_]+)[{ ]/gm)].map(([, name]) => name);
    const dashboard = readFileSync(join(root, 'infra', 'grafana', 'fretsaw.json'), 'utf8');
    const asked = new Set(dashboard.match(/(temporal|fretsaw)_[a-z_]+/g));
    expect(asked.size).toBeGreaterThan(10);
    // A counter appears with its first count; what failed may never have.
    asked.delete('temporal_workflow_task_execution_failed');
    expect([...asked].filter((name) => !known.includes(name))).toEqual([]);
  },
);

/** An OpenTelemetry collector, as far as it takes OTLP over HTTP; a name of a metric stands in its protobuf as it is. */
async function collect(): Promise<{ url: string; hasHeard: (name: string) => boolean; close: () => void }> {
  const heard: Buffer[] = [];
  const server = createServer((request, response) => {
    request.on('data', (piece: Buffer) => heard.push(piece));
    request.on('end', () => response.writeHead(request.url === '/v1/metrics' ? 200 : 404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/metrics`,
    hasHeard: (name) => Buffer.concat(heard).includes(name),
    close: () => void server.close(),
  };
}

test('the same goes to an OpenTelemetry collector where one is named', { timeout: 240_000 }, async () => {
  const collector = await collect();
  const wait = `while [ ! -e ${rig.folder}/go ]; do sleep 0.1; done`;
  const stages = [command('made', 'echo > "$1"/x'), command('slow', `${wait}; echo > "$1"/x`)];
  rig.write('a.yaml', `fretsaw: v1\nname: measured\nstages:\n${stages.join('')}`);
  const run = rig.start(['run', 'a.yaml'], { FRETSAW_METRICS: collector.url });
  const names = ['fretsaw_attempt_duration_seconds', 'fretsaw_cache_misses_total', 'temporal_long_request'];
  await rig.until(() => names.every(collector.hasHeard), 120);
  rig.write('go', '');
  expect((await run.ended).code).toBe(0);
  collector.close();
});
