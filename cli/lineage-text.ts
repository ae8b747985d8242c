import { shortDigest, type Digest } from '../core/digest.ts';
import type { KeyDocument } from '../core/keys.ts';
import { unreachable } from '../core/result.ts';
import type { LineageDifference } from '../lineage/diff.ts';
import type { Making } from '../lineage/graph.ts';
import type { Affected } from '../lineage/impact.ts';
import type { FieldDifference } from '../lineage/json-difference.ts';
import type { Origin } from '../lineage/walk-up.ts';
import type { Terminal } from './command.ts';
import { paint } from './paint.ts';
import { columns, secondsText, sizeText } from './table.ts';
import { wasteText } from './waste-text.ts';

type Ink = Pick<Terminal, 'hasColor'>;

/** A tree: each artifact once with what made it; where it comes again, a pointer up. */
export function originsText(origins: readonly Origin[], ink: Ink): string {
  const byArtifact = new Map(origins.map((origin) => [origin.artifact, origin]));
  const shown = new Set<Digest>();
  const lines: string[] = [];
  const show = (artifact: Digest, label: string, indent: string): void => {
    const origin = byArtifact.get(artifact);
    const head = `${indent}${label}${paint(ink, 'bold', shortDigest(artifact))}`;
    if (origin === undefined || shown.has(artifact)) {
      lines.push(`${head}  ${paint(ink, 'dim', '(above)')}`);
      return;
    }
    shown.add(artifact);
    const [first, ...rest] = describeOrigin(origin);
    lines.push(`${head}  ${first ?? ''}`, ...rest.map((line) => `${indent}    ${paint(ink, 'dim', line)}`));
    if (origin.kind === 'made')
      for (const { name, digest } of origin.inputs) show(digest, `${name}: `, `${indent}  `);
  };
  const [root] = origins;
  if (root !== undefined) show(root.artifact, '', '');
  return `${lines.join('\n')}\n`;
}

export function impactText(artifact: Digest, affected: readonly Affected[], ink: Ink): string {
  if (affected.length === 0) return `nothing was made from ${shortDigest(artifact)}\n`;
  const rows = affected.map(({ making: { predicate }, distance, through }) => [
    String(distance),
    predicate.stage,
    predicate.run,
    Object.entries(predicate.outputs)
      .map(([name, { digest }]) => `${name} ${shortDigest(digest)}`)
      .join('  '),
    `by ${through.map(({ input, artifact: read }) => `${input} ${shortDigest(read)}`).join(', ')}`,
  ]);
  const title = `${affected.length} records were made from ${paint(ink, 'bold', shortDigest(artifact))}`;
  return `${title}\n${columns(rows, ['right', 'left', 'left', 'left', 'left'])}`;
}

export function differenceText(difference: LineageDifference, ink: Ink): string {
  const lines: string[] = [];
  writeDifference({ lines, ink }, difference, '');
  return `${lines.join('\n')}\n`;
}

interface Page {
  lines: string[];
  ink: Ink;
}

function writeDifference(page: Page, difference: LineageDifference, indent: string): void {
  const { lines, ink } = page;
  const pair = `${shortDigest(digestOf(difference, 'a'))} -> ${shortDigest(digestOf(difference, 'b'))}`;
  switch (difference.kind) {
    case 'same':
      lines.push(`${indent}${shortDigest(difference.a)}: the same artifact`);
      return;
    case 'seen':
      lines.push(`${indent}${pair}  ${paint(ink, 'dim', '(above)')}`);
      return;
    case 'origins':
      lines.push(`${indent}${pair}`);
      lines.push(
        `${indent}  a: ${describeOrigin(difference.a)[0] ?? ''}`,
        `${indent}  b: ${describeOrigin(difference.b)[0] ?? ''}`,
      );
      return;
    case 'makings': {
      const { a, b, fields, inputs, circumstances } = difference;
      lines.push(
        `${indent}${pair}  ${a.making.predicate.stage}.${a.output} / ${b.making.predicate.stage}.${b.output}`,
      );
      lines.push(...fields.map((field) => `${indent}  ${fieldText(field, ink)}`));
      if (circumstances.length > 0) {
        lines.push(`${indent}  the same was asked for; it was run differently:`);
        lines.push(...circumstances.map((field) => `${indent}    ${fieldText(field, ink)}`));
      }
      for (const { name, difference: below } of inputs) {
        lines.push(`${indent}  input ${name}:`);
        writeDifference(page, below, `${indent}    `);
      }
      return;
    }
    default:
      unreachable(difference);
  }
}

export function fieldText({ field, a, b }: FieldDifference, ink: Ink): string {
  const side = (value: FieldDifference['a']): string =>
    value === undefined ? 'absent' : clip(JSON.stringify(value));
  return `${field}: ${paint(ink, 'red', side(a))} -> ${paint(ink, 'green', side(b))}`;
}

function digestOf(difference: LineageDifference, side: 'a' | 'b'): Digest {
  const value = difference[side];
  return typeof value === 'string' ? value : value.artifact;
}

/** The first line says what it is; further ones how it came about. */
function describeOrigin(origin: Origin): string[] {
  switch (origin.kind) {
    case 'made': {
      const { making, output, others } = origin;
      const ref = making.predicate.outputs[output];
      const what = ref === undefined ? '' : `  ${ref.type}, ${sizeText(ref.sizeBytes)}`;
      const also =
        others.length === 0
          ? []
          : [`the same bytes were made by ${others.map((other) => other.predicate.stage).join(', ')} too`];
      return [`${making.predicate.stage}.${output}${what}`, ...describeMaking(origin), ...also];
    }
    case 'imported': {
      const places = origin.imports.map(({ location, revision }) =>
        revision === undefined ? location : `${location} at ${revision}`,
      );
      const label = origin.making === undefined ? 'imported' : `${origin.making.predicate.stage}: imported`;
      return [`${label}${places.length === 0 ? '' : ` from ${places.join(', ')}`}`];
    }
    case 'unknown':
      return ['no record says where it came from'];
    default:
      return unreachable(origin);
  }
}

function describeMaking({ making, waste }: Extract<Origin, { kind: 'made' }>): string[] {
  const { document, run, attempts, supersedes } = making.predicate;
  const last = attempts.at(-1);
  const tries = waste.attempts > 1 ? `${wasteText(waste)} of ` : '';
  const where = last === undefined ? '' : ` on ${last.host} (${last.launcher})`;
  const code = last === undefined ? '' : `; code ${shortDigest(last.code)}`;
  const accepted = making.predicate.accepted;
  const word =
    accepted === undefined
      ? []
      : [
          `accepted: what ${shortDigest(accepted.key)} made, by ${accepted.by} at ${accepted.at}: ${accepted.reason}`,
        ];
  return [
    ...word,
    ...overrideOf(document),
    `${document.kind} version ${document.version}, run ${run}, ${tries}${secondsText(waste.totalSeconds)}${where}${code}`,
    `record ${recordName(making)}${supersedes === undefined ? '' : `, supersedes ${supersedes.generation}: ${supersedes.reason}`}`,
  ];
}

/** A gate that a person let pass. */
function overrideOf({ kind, with: settings }: KeyDocument): string[] {
  const override = kind === 'gate' ? settings['override'] : undefined;
  if (typeof override !== 'object' || override === null) return [];
  const { by, reason }: Readonly<Record<string, unknown>> = Object.fromEntries(Object.entries(override));
  return typeof by === 'string' && typeof reason === 'string' ? [`overridden by ${by}: ${reason}`] : [];
}

function recordName({ domain, key, generation }: Making): string {
  return `${domain}/${shortDigest(key)}/${generation}`;
}

function clip(text: string): string {
  return text.length > 100 ? `${text.slice(0, 97)}...` : text;
}
