import type { ArtifactType } from '../core/artifact.ts';
import { copyCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { anyOf, choice, secret, settings, text } from './setting.ts';

/** What an entry of `inputs:` may be; its word is the key that holds the location. */
export const importTypes = [
  'checkpoint',
  'dataset',
  'folder',
  'scores',
  'architecture',
] as const satisfies readonly ArtifactType[];
export type ImportType = (typeof importTypes)[number];

/**
 * An entry of `inputs:`. Once the digest is known, type and digest alone are its key: where the bytes
 * came from does not matter to what is made of them.
 */
export const importKind: Kind = {
  name: 'import',
  version: 1,
  summary:
    'A checkpoint, data set, folder, scores or architecture from outside, pinned by revision and digest.',
  example: 'inputs: { parent: { checkpoint: ./rehearsal/parent, digest: "sha256:..." } }',
  with: settings(
    {
      type: choice('What the bytes are.', importTypes),
      location: text('A local path, file:, s3: or hf: location.', { minLength: 1 }),
      revision: text('Commit (hf:) or version id (s3:) to read.', { minLength: 1 }),
      digest: text('Artifact digest that the bytes must have.', { pattern: '^sha256:[0-9a-f]{64}$' }),
      record: text('A local path: the record of its making, from the store where it was made.', {
        minLength: 1,
      }),
      token: anyOf('Credential for the location.', [secret]),
    },
    ['type', 'location'],
  ),
  inputs: {},
  outputs: ({ type }) => ({ self: importTypes.find((known) => known === type) ?? 'checkpoint' }),
  runner: 'inline',
  deterministic: 'yes',
  code: { python: [], typescript: [] },
  // A network gives less than a disk does: read once slowly counts as five copies.
  estimate: ({ with: { type }, ...input }) =>
    type === 'checkpoint' ? copyCost(5)({ ...input, with: {} }) : undefined,
};
