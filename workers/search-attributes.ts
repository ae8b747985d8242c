import { TypedSearchAttributes, defineSearchAttributeKey } from '@temporalio/common';
import type { NativeConnection } from '@temporalio/worker';

/**
 * What runs are found by among thousands. infra/temporal/namespace.sh gives them to a namespace of a
 * cluster; a home's own server gets them at its start. They are not payloads: nothing encrypts them.
 */
export const runAttributes = {
  spec: defineSearchAttributeKey('FretsawSpec', 'KEYWORD'),
  /** The commit that was checked out; `+changes` behind it when the working tree differed. */
  commit: defineSearchAttributeKey('FretsawCommit', 'KEYWORD'),
  /** Kept by the run's workflow: running, paused, approval, done, failed or cancelled. */
  state: defineSearchAttributeKey('FretsawState', 'KEYWORD'),
  kinds: defineSearchAttributeKey('FretsawKinds', 'KEYWORD_LIST'),
  pools: defineSearchAttributeKey('FretsawPools', 'KEYWORD_LIST'),
  /** Who started it. */
  owner: defineSearchAttributeKey('FretsawOwner', 'KEYWORD'),
} as const;

/** As the API and Temporal's command line call the types. */
const apiTypes = {
  KEYWORD: { name: 'Keyword', value: 2 },
  KEYWORD_LIST: { name: 'KeywordList', value: 7 },
} as const;

/** Arguments of `temporal server start-dev`; they hold for a new database only. */
export const serverFlags: readonly string[] = Object.values(runAttributes).flatMap(({ name, type }) => [
  '--search-attribute',
  `${name}=${apiTypes[type].name}`,
]);

/** Gives a namespace what it lacks: for a home's own server, whose database may be older than these. */
export async function addSearchAttributes(connection: NativeConnection, namespace: string): Promise<void> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.values(runAttributes).filter(({ name }) => !(name in customAttributes));
  if (missing.length === 0) return;
  const searchAttributes = Object.fromEntries(
    missing.map(({ name, type }) => [name, apiTypes[type].value as never]), // the enum is of a package that is not ours to import
  );
  await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
}

export interface AttributedRun {
  spec: string;
  commit?: string;
  owner: string;
  kinds: readonly string[];
  pools: readonly string[];
}

/** Those of a run that is about to start. */
export function attributesOf({ spec, commit, owner, kinds, pools }: AttributedRun): TypedSearchAttributes {
  return new TypedSearchAttributes([
    { key: runAttributes.spec, value: spec },
    { key: runAttributes.state, value: 'running' },
    { key: runAttributes.owner, value: owner },
    { key: runAttributes.kinds, value: [...kinds] },
    { key: runAttributes.pools, value: [...pools] },
    ...(commit === undefined ? [] : [{ key: runAttributes.commit, value: commit }]),
  ]);
}

const invalidArgument = 3;

/** Whether a call was refused because the namespace does not have these attributes. */
export function knowsNoAttributes(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('code' in at && at.code === invalidArgument) return /search attribute/i.test(at.message);
  }
  return false;
}
