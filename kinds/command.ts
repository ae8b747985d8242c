import { artifactTypes, type ArtifactType } from '../core/artifact.ts';
import type { Json } from '../core/canonical-json.ts';
import { unknownCost } from './compute.ts';
import type { Kind, Outputs, Settings } from './kind.ts';
import { anyOf, choice, list, mapOf, secret, settings, text } from './setting.ts';

const relativePath = '^(?!/)(?!.*(^|/)\\.\\.(/|$))[^\\\\]+$';

/** The user's own step. Its code is named in `with`, since nothing here can see inside it. */
export const commandKind: Kind = {
  name: 'command',
  version: 1,
  summary: "The user's own step: argv without a shell, inputs as folders, declared outputs.",
  example:
    'copy: { kind: command, inputs: { a: first.out }, with: { argv: [cp, -r, "{a}/x", "{out}/x"], outputs: { out: out } } }',
  with: settings(
    {
      argv: list(
        'Program and arguments, run without a shell. `{name}` is the folder of an input or output.',
        text('One argument.'),
        {
          minItems: 1,
        },
      ),
      outputs: mapOf(
        'Declared outputs: name -> folder relative to the working folder.',
        text('Relative path.', { pattern: relativePath }),
      ),
      types: mapOf(
        'What an output holds, when it is to feed a stage that asks for more than a folder.',
        choice('Artifact type.', artifactTypes),
        {
          default: {},
        },
      ),
      image: text('Container image by digest that the program comes from.', { minLength: 1 }),
      code_digest: text('Digest of the program: change it when the program changes.', { minLength: 1 }),
      env: mapOf(
        'Environment of the program; nothing else is inherited but PATH and HOME.',
        anyOf('Text or a secret.', [text('Value.'), secret]),
        {
          default: {},
        },
      ),
    },
    ['argv', 'outputs'],
  ),
  inputs: 'open',
  outputs: commandOutputs,
  runner: 'command',
  deterministic: 'no',
  code: { python: [], typescript: [] },
  estimate: unknownCost,
};

function commandOutputs(given: Settings): Outputs {
  const types = members(given['types']);
  return Object.fromEntries(
    Object.keys(members(given['outputs'])).map((name) => [name, outputType(types[name])]),
  );
}

function outputType(value: Json | undefined): ArtifactType {
  return artifactTypes.find((type) => type === value) ?? 'folder';
}

function members(value: Json | undefined): Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !isList(value) ? value : {};
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}
