import { UsageError, type Invocation } from './command.ts';
import { findArtifact } from './find-artifact.ts';
import { sha256Bytes } from '../store/sha256.ts';
import type { Store } from '../store/store.ts';

/** What `fretsaw artifact tensor <artifact> <name> [--expert <e>]` asks for. */
export interface TensorQuestion {
  store: Store;
  invocation: Invocation;
  artifact: string;
  name: string;
  expert: string | undefined;
}

/** The tensor's bytes (row-major, little-endian), or with --json what it is; reads nothing else of the checkpoint. */
export async function printTensor(question: TensorQuestion): Promise<void> {
  const { store, invocation, artifact, name, expert } = question;
  if (expert !== undefined && !/^\d{1,6}$/.test(expert))
    throw new UsageError(`--expert: expected a number, found ${expert}`);
  const digest = await findArtifact(store, artifact);
  const chosen = expert === undefined ? { name } : { name, expert: Number(expert) };
  const { bytes, ...said } = await store.artifacts.readTensor(digest, chosen);
  if (invocation.json) {
    const document = { digest, ...said, sizeBytes: bytes.length, sha256: sha256Bytes(bytes) };
    invocation.terminal.out(`${JSON.stringify(document)}\n`);
    return;
  }
  await new Promise<void>((done, fail) => {
    process.stdout.write(bytes, (error) => {
      if (error === null || error === undefined) done();
      else fail(error);
    });
  });
}
