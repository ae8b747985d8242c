import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { identify, isAlive } from '../../../activities/launchers/process-identity.ts';

/** Blocks this process, so that nobody waits for its children meanwhile. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('a child that ended before anybody looked is known, and not alive', () => {
  const child = spawn('/bin/true', { detached: true, stdio: 'ignore' });
  block(500); // it has ended by now and is a zombie: only the event loop waits for children
  const identity = identify(child.pid ?? 0);
  expect(identity?.pid).toBe(child.pid);
  expect(identity !== undefined && isAlive(identity)).toBe(false);
});

test('a process is alive until it ends, and its pid alone is not its identity', async () => {
  const child = spawn('/bin/sleep', ['60'], { stdio: 'ignore' });
  const identity = identify(child.pid ?? 0);
  if (identity === undefined) throw new Error('bug: a child at work has no identity');
  expect(isAlive(identity)).toBe(true);
  expect(isAlive({ ...identity, started: `${identity.started}0` })).toBe(false);
  expect(isAlive({ ...identity, host: 'elsewhere.example' })).toBe(false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(isAlive(identity)).toBe(false);
  expect(identify(child.pid ?? 0)).toBeUndefined();
});

test('what never was has no identity', () => {
  const { pid } = spawnSync('/bin/true');
  expect(identify(pid)).toBeUndefined();
});
