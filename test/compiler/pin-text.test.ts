import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { pinText, writtenImports } from '../../compiler/pin-text.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const other = `sha256:${'b'.repeat(64)}`;
const text = `# A spec with its own way of writing.
fretsaw: v1
name:   spaced
inputs:   # what comes from outside
  flow:   { checkpoint: ./a }   # stays here
  block:
    dataset: ./b     # and here

    revision: 'old'
  quoted: { folder: "./c", digest: "${other}" }
  made: { folder: "./\${params.x}" }
profiles:
  rehearsal:
    inputs:
      flow: { checkpoint: ./tiny }
`;

describe('the imports of a text', () => {
  it('are those of the spec and of its profiles whose location is written out', () => {
    expect(writtenImports(text).map(({ where, location }) => `${where} ${location}`)).toEqual([
      'inputs.flow ./a',
      'inputs.block ./b',
      'inputs.quoted ./c',
      'profiles.rehearsal.inputs.flow ./tiny',
    ]);
  });
});

describe('pinning a text', () => {
  it('changes only the lines of its pins', () => {
    const pinned = pinText(text, [
      { path: ['inputs', 'flow'], key: 'digest', value: digest },
      { path: ['inputs', 'block'], key: 'revision', value: 'new' },
      { path: ['inputs', 'block'], key: 'digest', value: digest },
      { path: ['inputs', 'quoted'], key: 'digest', value: digest },
      { path: ['profiles', 'rehearsal', 'inputs', 'flow'], key: 'digest', value: digest },
    ]);
    expect(pinned).toBe(
      text
        .replace('{ checkpoint: ./a }', `{ checkpoint: ./a, digest: ${digest} }`)
        .replace("'old'", `'new'\n    digest: ${digest}`)
        .replace(other, digest)
        .replace('./tiny }', `./tiny, digest: ${digest} }`),
    );
  });

  it('reads back as what was there and the pin, whatever the comments', () => {
    const comment = fc.constantFrom('', '  # why', ' # {a: b}', '   ');
    const forms = fc.constantFrom<(c: string) => string>(
      (c) => `  a: { checkpoint: ./a }${c}\n`,
      (c) => `  a:${c}\n    checkpoint: ./a${c}\n`,
      (c) => `  a: {${c === '' ? '' : '\n     '} checkpoint: "./a"\n    }${c}\n`,
      (c) => `  "a":\n      checkpoint: './a'${c}`,
    );
    fc.assert(
      fc.property(comment, forms, (c, form) => {
        const before = `fretsaw: v1\ninputs:\n${form(c)}`;
        const after: unknown = parse(
          pinText(before, [{ path: ['inputs', 'a'], key: 'digest', value: digest }]),
        );
        expect(after).toEqual({ fretsaw: 'v1', inputs: { a: { checkpoint: './a', digest } } });
      }),
    );
  });
});
