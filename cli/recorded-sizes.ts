import type { Digest } from '../core/digest.ts';
import { isFailure } from '../core/errors.ts';
import type { KeyDocument } from '../core/keys.ts';
import type { ModelSize } from '../kinds/kind.ts';
import { inputsOf, makerOf, type LineageGraph } from '../lineage/graph.ts';
import type { Store } from '../store/store.ts';
import { modelInputs, sizeOfConfig } from './plan-sizes.ts';

/**
 * Size of the model that an earlier stage worked on: by the config.json of its input, or of what that
 * was made from. Undefined when none of them is in the store.
 */
export function recordedSizes(
  store: Store,
  graph: LineageGraph,
): (document: KeyDocument) => Promise<ModelSize | undefined> {
  const known = new Map<Digest, Promise<ModelSize | undefined>>();
  const ofArtifact = (digest: Digest): Promise<ModelSize | undefined> => {
    const found =
      known.get(digest) ??
      readConfig(store, digest).then((size) => {
        const maker = makerOf(graph, digest);
        return size ?? (maker === undefined ? undefined : ofDocument(maker.predicate.document));
      });
    known.set(digest, found);
    return found;
  };
  const ofDocument = async (document: KeyDocument): Promise<ModelSize | undefined> => {
    const inputs = inputsOf(document);
    const input = modelInputs.flatMap(
      (port) => inputs.find(({ name }) => nameOfPort(name) === port) ?? [],
    )[0];
    return input === undefined ? undefined : ofArtifact(input.digest);
  };
  return ofDocument;
}

/** `models.high` and `models[0]` are inputs of the port `models`. */
function nameOfPort(name: string): string | undefined {
  return /^[^.[]+/.exec(name)?.[0];
}

async function readConfig(store: Store, digest: Digest): Promise<ModelSize | undefined> {
  try {
    return sizeOfConfig(Buffer.from(await store.artifacts.readFile(digest, 'config.json')).toString('utf8'));
  } catch (error) {
    if (isFailure(error)) return undefined; // not a checkpoint, or gone from the store
    throw error;
  }
}
