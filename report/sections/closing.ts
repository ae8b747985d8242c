import type { Evidence } from '../evidence.ts';
import { significant, unknown } from '../figures.ts';
import { left, right, type Section } from '../section.ts';

export function gateSection({ verdict }: Evidence): Section | undefined {
  if (verdict === undefined) return undefined;
  const missed = verdict.rules.filter((rule) => !rule.passed).length;
  return {
    id: 'gate',
    title: 'The gate',
    lead: verdict.passed
      ? `Passed: all ${verdict.rules.length} rules hold.`
      : `Failed: ${missed} of ${verdict.rules.length} rules do not hold.`,
    figures: [],
    tables: [
      {
        caption: 'Rules',
        columns: [left('rule'), left(''), right('value'), right('± s.e.'), right('limit'), left('how sure')],
        rows: verdict.rules.map((rule) => [
          rule.rule,
          rule.passed ? { text: '✓ holds', tone: 'good' } : { text: '✗ fails', tone: 'bad' },
          significant(rule.value),
          rule.standardError === null ? unknown : significant(rule.standardError, 2),
          significant(rule.limit),
          rule.note,
        ]),
      },
    ],
    notes: [],
  };
}

export function provenanceSection({ provenance }: Evidence): Section | undefined {
  const inputs = Object.entries(provenance.inputs);
  if (inputs.length === 0) return undefined;
  return {
    id: 'provenance',
    title: 'Where the figures come from',
    lead: 'Every figure above is computed from these artifacts. `fretsaw lineage <digest>` walks from any of them to the run, the attempt and the inputs that made it.',
    figures: [],
    tables: [
      {
        caption: 'Artifacts read',
        columns: [left('input'), left('digest')],
        rows: inputs.map(([name, digest]) => [name, digest]),
        isDetail: true,
      },
    ],
    notes: [],
  };
}
