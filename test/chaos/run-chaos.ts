import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../selection/random.ts';
import { ChaosRig } from './chaos-rig.ts';
import { countTwice, findFaults, outputsOf, type Outputs, type Twice } from './checks.ts';
import type { ChaosShape } from './chaos-spec.ts';
import { FaultDeck, faultsOf, type Injected } from './faults.ts';
import type { Place } from './place.ts';

export interface ChaosOptions {
  shape: ChaosShape;
  seed: number;
  /** Where the store is. */
  store: Place['kind'];
  /** Faults to inject; then the run is left alone. */
  faults: number;
  /** Kinds of faults to take; all when absent. */
  only?: readonly string[];
  limitSeconds: number;
}

export interface ChaosResult {
  seed: number;
  store: Place['kind'];
  /** False where this host cannot disturb the store. */
  isStoreDisturbed: boolean;
  seconds: number;
  injected: Injected[];
  twice: Twice;
  outputs: Outputs;
  /** What does not hold that should. */
  faults: string[];
}

/** The pipeline with nobody in the way: what every disturbed run must make too. */
export async function runCalm(shape: ChaosShape, limitSeconds: number): Promise<Outputs> {
  const rig = await ChaosRig.open(shape, { kind: 'disk', isDisturbed: false });
  try {
    rig.startCommandLine();
    const until = Date.now() + limitSeconds * 1000;
    while (rig.ended === undefined && Date.now() < until) await sleep(100);
    if (rig.ended?.code !== 0) throw new Error(`the undisturbed run failed: ${rig.ended?.err ?? 'too slow'}`);
    return outputsOf(rig.ended.out);
  } finally {
    await rig.close();
  }
}

/** One disturbed run: faults at random until there were enough, then whatever must hold is looked at. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { shape, seed, faults, limitSeconds, store, only } = options;
  const rig = await ChaosRig.open(shape, { kind: store, isDisturbed: true });
  const random = seededRandom(seed);
  const kinds = faultsOf(rig).filter(({ kind }) => only?.includes(kind) ?? true);
  const deck = new FaultDeck(kinds, random);
  const startedAt = Date.now();
  const seconds = (): number => (Date.now() - startedAt) / 1000;
  const injected: Injected[] = [];
  const keeper = keepAlive(rig);
  try {
    while (!isDone(rig) && seconds() < limitSeconds) {
      if (random() < sharesMet) await untilTraining(rig);
      await sleep(300 + 1700 * random());
      if (injected.length >= faults || isDone(rig)) continue;
      const at = Math.round(seconds());
      const training = rig.training().length;
      const done = await deck.injectOne();
      if (done !== undefined) injected.push({ at, training, ...done });
    }
    const took = seconds();
    await rig.stopSecondWorker();
    const twice = countTwice(rig, injected.length);
    const { outputs, found } = await lookAtEnd(rig, twice, limitSeconds);
    const isStoreDisturbed = rig.place.faults.length > 0;
    return { seed, store, isStoreDisturbed, seconds: took, injected, twice, outputs, faults: found };
  } finally {
    clearInterval(keeper);
    await rig.close();
  }
}

/** Of the faults, this share waits for a job to be training; the others come whenever they come. */
const sharesMet = 0.8;
const longestWaitMs = 60_000;

async function untilTraining(rig: ChaosRig): Promise<void> {
  const until = Date.now() + longestWaitMs;
  while (rig.training().length === 0 && !isDone(rig) && Date.now() < until) await sleep(100);
}

/** What it made and what is wrong with it; of a run that was too slow, how far its command line came. */
async function lookAtEnd(
  rig: ChaosRig,
  twice: Twice,
  limitSeconds: number,
): Promise<{ outputs: Outputs; found: string[] }> {
  if (isDone(rig)) return { outputs: outputsOf(rig.ended?.out ?? ''), found: await findFaults(rig, twice) };
  const said = rig.ended === undefined ? '' : `exit ${String(rig.ended.code)} ${rig.ended.err.slice(-500)}`;
  return { outputs: {}, found: [`not done after ${limitSeconds} s ${said}`] };
}

function isDone(rig: ChaosRig): boolean {
  return rig.ended?.code === 0;
}

/** What an operator or a supervisor of processes does: start again what has ended. */
function keepAlive(rig: ChaosRig): NodeJS.Timeout {
  rig.startCommandLine();
  return setInterval(() => {
    if (isDone(rig) || rig.isClosing) return;
    if (rig.ended !== undefined) rig.startCommandLine();
    if (!rig.isSecondWorkerAlive) rig.startSecondWorker();
  }, 1000);
}
