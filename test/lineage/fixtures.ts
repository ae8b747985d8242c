import { createHash } from 'node:crypto';
import type { ArtifactRef } from '../../core/artifact.ts';
import { digestFromHex, type Digest } from '../../core/digest.ts';
import { stageKey, type InputDigests, type KeyDocument } from '../../core/keys.ts';
import { publishRecord, type PublishRequest } from '../../lineage/publish.ts';
import type { AttemptNote } from '../../lineage/record.ts';
import type { Store } from '../../store/store.ts';

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function digestOfText(text: string): Digest {
  return digestFromHex(sha256(text));
}

export function attemptNote(attempt: number, changes: Partial<AttemptNote> = {}): AttemptNote {
  return {
    attempt,
    startedAt: `2026-01-01T00:${String(attempt).padStart(2, '0')}:00.000Z`,
    finishedAt: `2026-01-01T00:${String(attempt).padStart(2, '0')}:30.000Z`,
    host: 'host-a',
    launcher: 'local',
    code: digestOfText('code'),
    versions: { node: '20' },
    resources: { cpus: 1 },
    outcome: 'done',
    ...changes,
  };
}

export function keyDocument(
  kind: string,
  inputs: Record<string, InputDigests>,
  settings: KeyDocument['with'] = {},
): KeyDocument {
  return { schema: 'fretsaw/key/v1', kind, version: '1', with: settings, inputs };
}

export function put(store: Store, text: string): Promise<ArtifactRef> {
  return store.artifacts.putFiles(new Map([['text.txt', Buffer.from(text)]]), { type: 'folder' });
}

export function requestOf(
  document: KeyDocument,
  changes: Partial<PublishRequest> & Pick<PublishRequest, 'outputs'>,
): PublishRequest {
  return {
    key: stageKey(document, sha256),
    document,
    attempts: [attemptNote(1)],
    run: 'run-1',
    stage: document.kind,
    ...changes,
  };
}

/** A finished stage of this kind whose one output, `out`, holds `text`. */
export async function makeStage(store: Store, document: KeyDocument, text: string): Promise<ArtifactRef> {
  const out = await put(store, text);
  await publishRecord(store, requestOf(document, { outputs: { out } }));
  return out;
}
