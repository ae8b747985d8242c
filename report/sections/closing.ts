import type { Evidence, Verdict } from '../evidence.ts';
import { percent, significant, unknown } from '../figures.ts';
import { left, right, type Section } from '../section.ts';

export function gateSection({ verdict }: Evidence): Section | undefined {
  if (verdict === undefined) return undefined;
  const missed = verdict.rules.filter((rule) => !rule.passed).length;
  return {
    id: 'gate',
    title: 'The gate',
    lead: leadOf(verdict, missed),
    figures: [],
    tables: [
      {
        caption: 'Rules',
        columns: [
          ...[left('rule'), left(''), right('value'), right('± s.e.'), right('limit')],
          ...[right('limit holds in'), left('how sure')],
        ],
        rows: verdict.rules.map((rule) => [
          rule.rule,
          rule.passed ? { text: '✓ holds', tone: 'good' } : { text: '✗ fails', tone: 'bad' },
          significant(rule.value),
          rule.standardError === null ? unknown : significant(rule.standardError, 2),
          significant(rule.limit),
          rule.support === null ? unknown : percent(rule.support),
          rule.note,
        ]),
      },
    ],
    notes: [],
  };
}

function leadOf({ passed, rules, override }: Verdict, missed: number): string {
  if (passed) return `Passed: all ${rules.length} rules hold.`;
  const failed = `Failed: ${missed} of ${rules.length} rules do not hold.`;
  return override === null ? failed : `${failed} ${override.by} let it pass: ${override.reason}`;
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
