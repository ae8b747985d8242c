import type { Why } from '../compiler/resolve.ts';
import { shortDigest } from '../core/digest.ts';
import { unreachable } from '../core/result.ts';
import type { Terminal } from './command.ts';
import type { Explanation } from './explain.ts';
import { differenceJson } from './lineage-json.ts';
import { differenceText, fieldText } from './lineage-text.ts';
import { paint } from './paint.ts';
import { durationRange } from './plan-text.ts';

export function explanationJson({ planned, resolved, inputs }: Explanation): object {
  const differing = [...inputs].map(([field, difference]) => [field, differenceJson(difference)] as const);
  return { ...resolved, kind: planned.kind, with: planned.with, inputs: Object.fromEntries(differing) };
}

/** The state in one line, then everything that it rests on. */
export function explanationText({ planned, resolved, inputs }: Explanation, terminal: Terminal): string {
  const head = `${paint(terminal, 'bold', resolved.name)}  ${planned.kind} version ${planned.version}: `;
  if (resolved.state === 'hit') {
    const outputs = Object.entries(resolved.outputs).map(
      ([name, { digest, type }]) => `  ${name}  ${shortDigest(digest)}  ${type}\n`,
    );
    return `${head}hit; key ${shortDigest(resolved.key)} has a record and every byte is there\n${outputs.join('')}`;
  }
  const key = resolved.key === null ? 'its key is not known yet' : `key ${shortDigest(resolved.key)}`;
  const cost =
    resolved.cost === null ? '' : `; ${resolved.cost.device} ${durationRange(resolved.cost.seconds)}`;
  const lines = [`${head}${resolved.state === 'run' ? 'would run' : 'may run'} (${key}${cost})`];
  lines.push(...whyLines(resolved.why, terminal));
  for (const [field, difference] of inputs) {
    const below = differenceText(difference, terminal).trimEnd().split('\n');
    lines.push(`  ${field} differs because:`, ...below.map((line) => `    ${line}`));
  }
  return `${lines.join('\n')}\n`;
}

function whyLines(why: Why, terminal: Terminal): string[] {
  switch (why.kind) {
    case 'new':
      return ['  no stage of this kind was ever made here'];
    case 'bytes-gone':
      return ['  it was made, but:', ...why.missing.map((what) => `    ${what}`)];
    case 'unpinned':
      return [`  nothing is known of the bytes at ${why.location}; fretsaw pin writes their digest`];
    case 'depends': {
      const { nearest, unless } = why;
      const gives = unless.map(
        ({ source, digest }) => `    ${source.stage}.${source.output} is ${shortDigest(digest)} again`,
      );
      return [`  all else is as in ${made(nearest)}; it is a hit if`, ...gives];
    }
    case 'changed': {
      const { differences } = why.nearest;
      if (differences.length === 0) return [`  asked for as in ${made(why.nearest)}, whose record is gone`];
      const fields = differences.map((difference) => `    ${fieldText(difference, terminal)}`);
      return [`  the nearest record is ${made(why.nearest)}; since then`, ...fields];
    }
    default:
      return unreachable(why);
  }
}

function made(nearest: { stage: string; key: string; finishedAt: string }): string {
  return `${nearest.stage} of ${nearest.finishedAt} (key ${shortDigest(nearest.key)})`;
}
