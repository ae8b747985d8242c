import { readFileSync } from 'node:fs';
import type { Digest } from '../core/digest.ts';
import { signApproval } from '../lineage/plan-approval.ts';
import type { Store } from '../store/store.ts';
import type { Invocation } from './command.ts';
import { checkedOut } from './git-commit.ts';

/**
 * Signs a run's plan when this command line has a key: FRETSAW_SIGNING_KEY (PEM) or FRETSAW_SIGNING_KEY_FILE. The
 * branch is what git says, or FRETSAW_BRANCH where CI checks a commit out and no branch.
 */
export async function approvePlan(
  store: Store,
  { run, plan }: { run: string; plan: Digest },
  { env, cwd }: Pick<Invocation, 'env' | 'cwd'>,
): Promise<void> {
  const file = env['FRETSAW_SIGNING_KEY_FILE'] || undefined;
  const pem = env['FRETSAW_SIGNING_KEY'] || (file === undefined ? undefined : readFileSync(file, 'utf8'));
  if (pem === undefined) return;
  const { branch, commit } = checkedOut(cwd);
  const approval = {
    schema: 'fretsaw/plan-approval/v1' as const,
    plan,
    branch: env['FRETSAW_BRANCH'] || branch,
    commit,
  };
  await store.documents.create(`runs/${run}/approval`, signApproval(approval, pem));
}
