import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { commandEntries } from '../../cli/commands.ts';
import { storeVerbs } from '../../cli/store.ts';
import { defaultAnswers, failureCodes } from '../../core/errors.ts';
import { root } from '../support/built.ts';

const documents = [
  'README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];
const textOf = (document: string): string => readFileSync(join(root, document), 'utf8');

/** Every `fretsaw <command> ...` up to the end of its line, span or comment. */
function commandsIn(text: string): { name: string; words: string }[] {
  const found = text.matchAll(/(?:`|^|npx |\$ )fretsaw ([a-z]+)([^`\n#]*)/gm);
  return [...found].map(([, name = '', words = '']) => ({ name, words }));
}

/** `words` begin with the verb. */
function usageOfStore(words: string): string {
  const verb = storeVerbs.find((one) => words.trim().split(' ')[0] === one.name);
  return verb?.usage ?? '';
}

/** Of every command. */
const everywhere = ['--json', '--store', '--help'];

test.each(documents)('%s names commands and options that there are', (document) => {
  const wrong = commandsIn(textOf(document)).flatMap(({ name, words }) => {
    const entry = commandEntries.find((one) => one.name === name);
    if (entry === undefined) return [`fretsaw ${name}`];
    const known = entry.usage + entry.details + (name === 'store' ? usageOfStore(words) : '');
    const options = words.match(/(?<=\s)--[a-z][a-z-]*/g) ?? [];
    return options
      .filter((option) => !everywhere.includes(option) && !known.includes(option))
      .map((option) => `fretsaw ${name} ${option}`);
  });
  expect(wrong).toEqual([]);
});

test.each(documents)('%s points at files that there are', (document) => {
  const text = textOf(document);
  const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, to = '']) =>
    join(dirname(document), to),
  );
  const tests = [...text.matchAll(/vitest run ((?:[\w/.-]+\.test\.ts\s*)+)/g)].flatMap(([, names = '']) =>
    names.trim().split(/\s+/),
  );
  expect([...links, ...tests].filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test('the runbook has every failure code, with what is done about it by itself', () => {
  const rows = textOf('docs/operations.md').matchAll(/^\| (`[A-Z_]+`[^|]*)\| `([a-z_]+)`/gm);
  const answers = [...rows].flatMap(([, codes = '', answer]) =>
    (codes.match(/`[A-Z_]+`/g) ?? []).map((code) => [code.replaceAll('`', ''), answer] as const),
  );
  expect(Object.fromEntries(answers)).toEqual(defaultAnswers);
  expect(answers).toHaveLength(failureCodes.length);
});
