import { isDigest, type Digest } from '../../core/digest.ts';
import { Failure } from '../../core/errors.ts';
import type { ObjectBackend } from '../object-backend.ts';
import type { Artifacts, GroupUsage, Refs, Store, Upkeep } from '../store.ts';
import { collectGarbage } from './collect-garbage.ts';
import type { Collections } from './collections.ts';
import { reachableFrom } from './reachable.ts';
import { buryArtifact } from './tombstones.ts';
import { verifyStore } from './verify-objects.ts';

const unpinned = 'unpinned\n';

export interface UpkeepParts {
  artifacts: Artifacts;
  refs: Refs;
  collections: Collections;
}

export function createUpkeep(backend: ObjectBackend, { artifacts, refs, collections }: UpkeepParts): Upkeep {
  async function mustBeWhole(digest: Digest): Promise<void> {
    const missing = await artifacts.missing(digest);
    if (missing.length > 0)
      throw new Failure('NOT_FOUND', `${digest} lacks ${missing.slice(0, 3).join(', ')}`);
  }

  async function setPin(name: string, text: string): Promise<void> {
    for (;;) {
      const now = await refs.read(`pins/${name}`);
      if (now?.text === text) return;
      if (await refs.create(`pins/${name}`, (now?.generation ?? 0) + 1, text)) return;
    }
  }

  return {
    collect: (options) => collectGarbage(backend, collections, options),
    bury: (digest, reason) => buryArtifact(backend, collections, { digest, reason }),
    async pin(name, digest) {
      const before = await collections.ended();
      await mustBeWhole(digest);
      await setPin(name, `${digest}\n`);
      await collections.settle(before);
      // A collection may have looked at the pins just before.
      await mustBeWhole(digest).catch(async (error: unknown) => {
        await setPin(name, unpinned);
        throw error;
      });
    },
    unpin: (name) => setPin(name, unpinned),
    async referred() {
      const texts: string[] = [];
      for (const name of await refs.list('')) texts.push((await refs.read(name))?.text.trim() ?? '');
      return texts.filter(isDigest);
    },
    verify: (options) => verifyStore(backend, artifacts, options),
    repair: (from) => repairFrom(artifacts, from),
    usage: (groups) => usageOf(backend, groups),
  };
}

/** The other store verifies what it hands out, and putting it mends what is broken here. */
async function repairFrom(artifacts: Artifacts, from: Store): Promise<{ mended: Digest[]; lost: Digest[] }> {
  const mended: Digest[] = [];
  const lost: Digest[] = [];
  for (const digest of await artifacts.list()) {
    if ((await artifacts.missing(digest)).length === 0) continue;
    const manifest = await from.artifacts.manifest(digest);
    if (manifest === undefined || (await from.artifacts.missing(digest)).length > 0) {
      lost.push(digest);
      continue;
    }
    const folder = await from.artifacts.view(digest);
    await artifacts.putFolder(folder, { type: manifest.type, expected: manifest.files });
    mended.push(digest);
  }
  return { mended, lost };
}

async function usageOf(
  backend: ObjectBackend,
  groups: readonly (readonly Digest[])[],
): Promise<GroupUsage[]> {
  const reaches = await Promise.all(groups.map((group) => reachableFrom(backend, new Set(group))));
  const users = new Map<string, number>();
  for (const { names } of reaches) for (const name of names) users.set(name, (users.get(name) ?? 0) + 1);
  const names = [...users.keys()];
  const found = await backend.headMany(names);
  const sizes = new Map(names.map((name, n) => [name, found[n]?.sizeBytes ?? 0]));
  return reaches.map(({ names: own, logicalBytes }) => {
    const usage = { logicalBytes, ownBytes: 0, sharedBytes: 0 };
    for (const name of own) {
      if (users.get(name) === 1) usage.ownBytes += sizes.get(name) ?? 0;
      else usage.sharedBytes += sizes.get(name) ?? 0;
    }
    return usage;
  });
}
