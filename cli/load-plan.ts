import { resolve } from 'node:path';
import { compile } from '../compiler/compile.ts';
import type { Diagnostic } from '../compiler/diagnostic.ts';
import type { ReadSpec } from '../compiler/load-spec.ts';
import type { Plan } from '../compiler/plan.ts';
import type { Result } from '../core/result.ts';
import { sha256Text } from '../store/sha256.ts';
import { UsageError, type Invocation } from './command.ts';
import { specReader } from './spec-files.ts';

export interface SpecChoice {
  profile?: string | undefined;
  params?: Readonly<Record<string, string>>;
  /** From elsewhere than the working tree. */
  readSpec?: ReadSpec;
}

/** The plan that a spec file asks for, or everything that is wrong with it. */
export function loadPlan(
  path: string,
  choice: SpecChoice,
  { cwd }: Pick<Invocation, 'cwd'>,
): Result<Plan, Diagnostic[]> {
  return compile(path, {
    readSpec: choice.readSpec ?? specReader(cwd),
    sha256: sha256Text,
    profile: choice.profile,
    params: choice.params,
    absolute: (local) => resolve(cwd, local),
  });
}

/** `--param name=value`. */
export function parseParam(text: string): [name: string, value: string] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`--param: expected name=value, found ${text}`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** What a GPU costs for an hour, in any money. */
export function parsePrice(text: string): number {
  const price = Number(text);
  if (text.trim() === '' || !Number.isFinite(price) || price < 0)
    throw new UsageError(`--price: expected a number, found ${text}`);
  return price;
}
