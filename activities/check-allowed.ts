import { bindKey } from '../compiler/bind.ts';
import type { AllowedSigner } from '../compiler/pool.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { digestFromHex } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import type { KeyDocument } from '../core/keys.ts';
import { readApprovalOf } from '../lineage/plan-approval.ts';
import type { ActivityDeps } from './deps.ts';
import { readPlan } from './plan-document.ts';
import type { StageRequest } from './stage-request.ts';

/**
 * A pool with an allow-list runs nothing but stages of plans that one of its signers stands for: whoever can reach Temporal and the store
 * can ask for anything, and has no signer's key. NOT_ALLOWED says what is missing.
 */
export async function checkAllowed(
  deps: ActivityDeps,
  request: StageRequest,
  document: KeyDocument,
): Promise<void> {
  if (deps.allow === undefined) return;
  await checkApproval(deps, request, deps.allow);
  await checkStage(deps, request, document);
}

async function checkApproval(
  { store, sha256 }: ActivityDeps,
  { run }: StageRequest,
  allow: readonly AllowedSigner[],
): Promise<void> {
  const found = await readApprovalOf(store.documents, run, allow);
  const names = allow.map(({ name }) => name).join(', ');
  if (found === undefined)
    throw refusal(`the plan of run ${run} is not signed; this pool runs plans of ${names}`);
  const { approval, signers } = found;
  const plan = await store.documents.read(`runs/${run}/plan`);
  if (plan === undefined || approval.plan !== digestFromHex(sha256(plan))) {
    throw refusal(`run ${run}: what was signed is another plan`);
  }
  const known = allow.filter(({ name }) => signers.includes(name));
  if (known.length === 0) throw refusal(`the plan of run ${run} is not signed by ${names}`);
  if (
    known.some(({ branches }) => branches === undefined || branches.some((one) => fits(one, approval.branch)))
  )
    return;
  const allowed = known.flatMap(({ branches }) => branches ?? []).join(', ');
  throw refusal(`run ${run} is of branch ${approval.branch || '(none)'}, allowed are ${allowed}`);
}

/** The stage is one of the signed plan: of that name, pool and size, and asking for just that work. */
async function checkStage(
  { store, versions, poolQueue }: ActivityDeps,
  { run, stage: name, pool, resources }: StageRequest,
  document: KeyDocument,
): Promise<void> {
  const stage = (await readPlan(store.documents, run)).byName.get(name);
  if (stage === undefined || stage.kind !== document.kind)
    throw refusal(`the signed plan has no stage ${name} of kind ${document.kind}`);
  // Inputs are known only as the run goes; everything else stands in the plan.
  const planned = bindKey(stage, () => digestFromHex('0'.repeat(64)), versions);
  const isSame =
    canonicalJson(planned.with) === canonicalJson(document.with) &&
    poolQueue(stage.pool) === pool &&
    resources.gpus <= stage.resources.gpus;
  if (!isSame) throw refusal(`stage ${name} asks for something else than the signed plan does`);
}

function refusal(message: string): Failure {
  return new Failure('NOT_ALLOWED', message);
}

/** `*` stands for anything but a slash. */
function fits(pattern: string, branch: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^/]*')}$`).test(branch);
}
