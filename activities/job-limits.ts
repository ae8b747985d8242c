import { hexOf } from '../core/digest.ts';
import { Failure, type FailureCode } from '../core/errors.ts';
import { listAttempts } from '../lineage/attempt.ts';
import { beganAtMs } from './began-at.ts';
import type { Work } from './execute-stage.ts';
import type { JobSigns } from './job-events.ts';
import type { StageRequest } from './stage-request.ts';
import type { TakenAttempt } from './take-attempt.ts';

/** Share of a budget at which people are told. */
export const toldAt = 0.8;

/** Why a job has to be stopped. */
export interface Breach {
  code: Extract<FailureCode, 'TIMEOUT' | 'BUDGET_SPENT' | 'STALLED'>;
  message: string;
}

interface Use {
  code: 'TIMEOUT' | 'BUDGET_SPENT';
  share: number;
  text: string;
}

/** What one attempt may use of time, and how long its job may be silent. */
export class JobLimits {
  readonly #request: StageRequest;
  #beganAtMs: number | undefined;
  /** GPU hours of the attempts before. */
  readonly #spentBefore: number;
  #isTold = false;

  private constructor(request: StageRequest, beganAtMs: number | undefined, spentBefore: number) {
    this.#request = request;
    this.#beganAtMs = beganAtMs;
    this.#spentBefore = spentBefore;
    this.#isTold = this.#uses(beganAtMs ?? Date.now()).some(({ share }) => share >= toldAt);
  }

  static async open({ deps, request, launcher }: Work, taken: TakenAttempt): Promise<JobLimits> {
    const began = await beganAtMs(launcher, taken.folder, taken.startedAt);
    if (request.budget?.gpu_hours === undefined) return new JobLimits(request, began, 0);
    const attempts = await listAttempts(deps.store.documents, request.key);
    const spent = attempts.map(
      ({ startedAt, finishedAt, resources }) =>
        hours(Date.parse(finishedAt) - Date.parse(startedAt)) * Number(resources['gpus'] ?? 0),
    );
    return new JobLimits(
      request,
      began,
      spent.reduce((sum, each) => sum + each, 0),
    );
  }

  /** A queued job's turn has come: its time runs from here. */
  begin(atMs: number | undefined): void {
    this.#beganAtMs ??= atMs;
  }

  /** What is over its limit now. */
  breach(signs: JobSigns, nowMs: number): Breach | undefined {
    const over = this.#uses(nowMs).find(({ share }) => share >= 1);
    if (over !== undefined) return { code: over.code, message: over.text };
    return this.#stall(signs, nowMs);
  }

  /** Once, when something is over 80 % of its limit: the text to tell people. */
  takeWarning(nowMs: number): string | undefined {
    if (this.#isTold) return undefined;
    const near = this.#uses(nowMs).find(({ share }) => share >= toldAt);
    this.#isTold = near !== undefined;
    return near?.text;
  }

  #uses(nowMs: number): Use[] {
    const { budget, resources } = this.#request;
    const wall = hours(nowMs - (this.#beganAtMs ?? nowMs));
    const uses: Use[] = [];
    if (budget?.hours !== undefined) {
      uses.push(useOf('TIMEOUT', { used: wall, limit: budget.hours, unit: 'h of wall clock' }));
    }
    if (budget?.gpu_hours !== undefined) {
      const used = this.#spentBefore + wall * resources.gpus;
      uses.push(useOf('BUDGET_SPENT', { used, limit: budget.gpu_hours, unit: 'GPU hours' }));
    }
    return uses;
  }

  /**
   * After its last step a job may write and measure for as long as it likes. Before its usual gap is known (it
   * may hang in its first collective) `seconds` stand for that. Who never says anything is not judged.
   */
  #stall({ progress, saidAtMs, usualGapMs }: JobSigns, nowMs: number): Breach | undefined {
    const { stall } = this.#request;
    if (stall === undefined || saidAtMs === undefined) return undefined;
    if (progress !== undefined && progress.step >= progress.total) return undefined;
    const patienceMs = stall.seconds * 1000;
    const silentMs = nowMs - saidAtMs;
    if (silentMs <= Math.max(stall.times * (usualGapMs ?? patienceMs), patienceMs)) return undefined;
    const usual = usualGapMs === undefined ? '' : `, where ${seconds(usualGapMs)} s are usual`;
    const told = `${seconds(silentMs)} s of silence at step ${progress?.step ?? 0}${usual}`;
    return { code: 'STALLED', message: told };
  }
}

/** Tells the stage's workflow, which tells the runs that wait for it; nobody may be there to hear. */
export async function tellBudget({ deps, request }: Work, text: string): Promise<void> {
  const stage = deps.client.workflow.getHandle(`stage-${hexOf(request.key)}`);
  await stage.signal('budget', text).catch(() => undefined);
}

export function breachFailure({ code, message }: Breach): Failure {
  return new Failure(code, message);
}

function useOf(code: Use['code'], { used, limit, unit }: { used: number; limit: number; unit: string }): Use {
  return { code, share: used / limit, text: `${round(used)} of ${round(limit)} ${unit}` };
}

const hours = (ms: number): number => Math.max(0, ms) / 3_600_000;
const seconds = (ms: number): string => (ms / 1000).toFixed(1);
const round = (value: number): string => String(Number(value.toPrecision(3)));
