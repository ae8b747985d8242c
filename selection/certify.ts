import { expectSchema, field, list, number, oneOf, text, wrong, type Place } from '../costs/json-reader.ts';
import { checkCertificate, type CertificateCheck } from './certificate.ts';
import { checkProblem, type ChoiceProblem } from './problem.ts';

/** What a proof says of itself, and what checking it again found. */
export interface Certified {
  claimed: { status: string; value: number; lpBound: number };
  check: CertificateCheck;
  /** The first thing that is not as claimed; null when all is. */
  fault: string | null;
}

/** Partial choices looked at before an optimum is left open. */
const maximumNodes = 2_000_000;

/** Re-checks a selection's proof from its own numbers, with no solver: a sum, a minimum a layer, a search of the rest. */
export function certify(proof: Place): Certified {
  expectSchema(proof, 'fretsaw/selection-proof/v1');
  const place = field(proof, 'problem');
  const problem = readProblem(place);
  checkProblem(problem);
  const picks = list(number)(field(place, 'picks'));
  const multipliers = list(number)(field(proof, 'multipliers'));
  if (picks.length !== problem.scores.length)
    wrong(field(place, 'picks'), `${problem.scores.length} picks, one a layer`);
  const claimed = {
    status: text(field(proof, 'status')),
    value: number(field(proof, 'value')),
    lpBound: number(field(proof, 'lpBound')),
  };
  const check = checkCertificate(problem, picks, { multipliers, maximumNodes });
  return { claimed, check, fault: faultOf(claimed, check) };
}

function faultOf(claimed: Certified['claimed'], check: CertificateCheck): string | null {
  const near = (a: number, b: number): boolean =>
    Math.abs(a - b) <= 1e-9 * Math.max(1e-300, Math.abs(a), Math.abs(b));
  if (!check.feasible) return 'the selection breaks a constraint';
  if (!near(claimed.value, check.value)) return `the score is ${check.value}, not ${claimed.value}`;
  if (!near(claimed.lpBound, check.bound))
    return `the multipliers prove the bound ${check.bound}, not ${claimed.lpBound}`;
  if (claimed.status === 'optimal' && check.better !== null)
    return `a better selection exists: ${check.better.value}`;
  return null;
}

function readProblem(place: Place): ChoiceProblem {
  return {
    layers: list(text)(field(place, 'layers')),
    scores: list(list(number))(field(place, 'scores')),
    rows: list((row) => ({
      name: text(field(row, 'name')),
      unit: text(field(row, 'unit')),
      sense: oneOf(['at_most', 'at_least', 'exactly'])(field(row, 'sense')),
      limit: number(field(row, 'limit')),
      costs: list(list(number))(field(row, 'costs')),
    }))(field(place, 'rows')),
  };
}
