import { Failure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';
import { isCheckable, type Instruction } from './format-checks.ts';

/** How an answer is judged, as a line of examples.jsonl says it: a name, or an object with `kind`. */
export type Scorer =
  | { kind: 'exact' }
  | { kind: 'number' }
  /** One of `choices` letters from A. */
  | { kind: 'choice'; choices: number }
  /** Numbers and expressions: fractions, units, LaTeX. */
  | { kind: 'math' }
  /** RULER: all references stand in the answer, or any. */
  | { kind: 'recall'; references: string[]; part: 'all' | 'any' }
  /** Verifiable instructions, all of which must hold. */
  | { kind: 'format'; instructions: Instruction[]; isLoose: boolean }
  /** Python that must run to its end: prelude, the answer's code, tests. */
  | { kind: 'code'; prelude: string; tests: string; seconds: number; memoryMiB: number }
  /** Another model's verdict. */
  | { kind: 'judge'; rubric: string | undefined; votes: number };

export const scorerKinds = [
  'exact',
  'number',
  'choice',
  'math',
  'recall',
  'format',
  'code',
  'judge',
] as const;

/** Of each scorer: counts up when the same answer may be scored otherwise. Results tell it, and compare only when it is equal. */
export const scorerVersions: Readonly<Record<(typeof scorerKinds)[number], number>> = {
  exact: 1,
  number: 1,
  choice: 2,
  math: 2,
  recall: 1,
  format: 2,
  code: 2,
  judge: 2,
};

export function readScorer(fields: JsonFields, where: string): Scorer {
  const named = typeof fields.raw('scorer') === 'string';
  const scorer = named
    ? JsonFields.of({ kind: fields.text('scorer') }, `${where}: scorer`)
    : fields.record('scorer');
  const kind = scorerKinds.find((known) => known === scorer.text('kind'));
  if (kind === undefined)
    throw new Failure(
      'BAD_INPUT',
      `${where}: unknown scorer ${scorer.text('kind')}; known: ${scorerKinds.join(', ')}`,
    );
  return readers[kind](scorer, where);
}

const readers: Readonly<Record<(typeof scorerKinds)[number], (fields: JsonFields, where: string) => Scorer>> =
  {
    exact: (fields) => plain(fields, 'exact'),
    number: (fields) => plain(fields, 'number'),
    math: (fields) => plain(fields, 'math'),
    choice: (fields) => ({ kind: 'choice', choices: fields.only(['kind', 'choices']).integer('choices', 2) }),
    recall: (fields, where) => {
      const part = fields.only(['kind', 'references', 'part']).has('part') ? fields.text('part') : 'all';
      const references = fields.texts('references');
      if ((part !== 'all' && part !== 'any') || references.length === 0)
        throw new Failure('BAD_INPUT', `${where}: recall needs references, and part all or any`);
      return { kind: 'recall', references, part };
    },
    format: (fields, where) => {
      const instructions = fields
        .only(['kind', 'instructions', 'loose'])
        .records('instructions')
        .map((args) => ({ id: args.text('id'), args }));
      const unknown = instructions.filter(({ id }) => !isCheckable(id)).map(({ id }) => id);
      if (unknown.length > 0) throw new Failure('BAD_INPUT', `${where}: no check for ${unknown.join(', ')}`);
      return { kind: 'format', instructions, isLoose: fields.has('loose') && fields.boolean('loose') };
    },
    code: (fields) => ({
      kind: 'code',
      prelude: fields.only(['kind', 'prelude', 'tests', 'seconds', 'memory_mib']).has('prelude')
        ? fields.text('prelude')
        : '',
      tests: fields.text('tests'),
      seconds: fields.has('seconds') ? fields.number('seconds') : 30,
      memoryMiB: fields.has('memory_mib') ? fields.integer('memory_mib', 1) : 1024,
    }),
    judge: (fields) => ({
      kind: 'judge',
      rubric: fields.only(['kind', 'rubric', 'votes']).has('rubric') ? fields.text('rubric') : undefined,
      votes: fields.has('votes') ? fields.integer('votes', 1) : 1,
    }),
  };

function plain(fields: JsonFields, kind: 'exact' | 'number' | 'math'): Scorer {
  fields.only(['kind']);
  return { kind };
}

/** Whether a scorer can judge by this answer. */
export function fitsAnswer(scorer: Scorer, answer: string): boolean {
  if (scorer.kind === 'number') return /^-?[0-9]+$/.test(answer);
  if (scorer.kind === 'choice')
    return answer.length === 1 && answer >= 'A' && answer.charCodeAt(0) < 65 + scorer.choices;
  return true;
}
