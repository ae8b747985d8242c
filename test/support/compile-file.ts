import { createHash } from 'node:crypto';
import { compile, type CompileOptions } from '../../compiler/compile.ts';
import type { Diagnostic } from '../../compiler/diagnostic.ts';
import type { Plan, PlannedStage } from '../../compiler/plan.ts';
import type { Result } from '../../core/result.ts';
import { specReader } from '../../cli/spec-files.ts';

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

type Choice = Partial<Omit<CompileOptions, 'readSpec' | 'sha256'>>;

/** Compiles a spec file of test/fixtures/specs, named from there. */
export function compileFixture(path: string, choice: Choice = {}): Result<Plan, Diagnostic[]> {
  const folder = new URL('../fixtures/specs/', import.meta.url).pathname;
  return compile(path, { readSpec: specReader(folder), sha256, ...choice });
}

/** Compiles spec texts by path; the first is the one asked for. */
export function compileTexts(texts: Record<string, string>, choice: Choice = {}): Result<Plan, Diagnostic[]> {
  const [first = 'spec.yaml'] = Object.keys(texts);
  return compile(first, {
    readSpec: (path) => {
      const text = texts[path];
      return text === undefined
        ? { kind: 'missing', reason: 'there is no such file' }
        : { kind: 'text', text };
    },
    sha256,
    ...choice,
  });
}

export function planOf(result: Result<Plan, Diagnostic[]>): Plan {
  if (result.ok) return result.value;
  throw new Error(
    result.error.map(({ code, message, range }) => `${range.line}: ${code} ${message}`).join('\n'),
  );
}

export function faultsOf(result: Result<Plan, Diagnostic[]>): Diagnostic[] {
  if (!result.ok) return result.error;
  throw new Error('the spec compiles');
}

export function stageOf(plan: Plan, name: string): PlannedStage {
  const found = plan.stages.find((stage) => stage.name === name);
  if (found === undefined)
    throw new Error(`no ${name} among ${plan.stages.map((stage) => stage.name).join(', ')}`);
  return found;
}
