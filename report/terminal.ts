import { effortsOf, modelNamed, suiteAt, type Evidence } from './evidence.ts';
import { fixed, percent, percentWithError, unknown } from './figures.ts';
import { headline } from './headline.ts';
import { left, right, textOf, type Cell, type Column } from './section.ts';
import { effortLengthRatio } from './statistics.ts';

/** The table at the end of a run: accuracy, retention, lengths, and the gate. No colour: the command line adds it. */
export function toTerminal(evidence: Evidence): string {
  const efforts = effortsOf(evidence.models);
  const baseline = modelNamed(evidence, evidence.baseline);
  const columns = [
    left('model'),
    ...efforts.map((effort) => right(effort)),
    ...(baseline === undefined ? [] : efforts.map((effort) => right(`keeps, ${effort}`))),
    ...efforts.map((effort) => right(`tokens, ${effort}`)),
    right('high÷low'),
  ];
  const rows = evidence.models.map((model): Cell[] => {
    const results = efforts.map((effort) => suiteAt(model, effort));
    const kept = efforts.map((effort, index) => {
      const reference = baseline === undefined ? undefined : suiteAt(baseline, effort);
      const own = results[index];
      return own === undefined || reference === undefined || reference.accuracy === 0
        ? unknown
        : percent(own.accuracy / reference.accuracy);
    });
    return [
      model.label,
      ...results.map((result) =>
        result === undefined ? unknown : percentWithError(result.accuracy, result.standardError),
      ),
      ...(baseline === undefined ? [] : kept),
      ...results.map((result) => fixed(result?.meanTokens, 1)),
      fixed(effortLengthRatio(model), 2),
    ];
  });
  const tiles = headline(evidence).map((tile) => `  ${tile.value}  ${tile.name}`);
  const table = rows.length === 0 ? [] : [textTable(columns, rows), ''];
  return [evidence.title, '', ...table, ...tiles, ''].join('\n');
}

/** Columns padded to their widest cell, numbers to the right. */
export function textTable(columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  const lines = [columns.map((column) => column.title), ...rows.map((row) => row.map(textOf))];
  const widths = columns.map((_, index) => Math.max(...lines.map((cells) => widthOf(cells[index] ?? ''))));
  const padded = lines.map((cells) =>
    columns
      .map((column, index) => {
        const cell = cells[index] ?? '';
        const space = ' '.repeat((widths[index] ?? 0) - widthOf(cell));
        return column.align === 'right' ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd(),
  );
  const rule = '─'.repeat(widths.reduce((sum, width) => sum + width + 2, -2));
  return [padded[0] ?? '', rule, ...padded.slice(1)].join('\n');
}

/** Characters as a terminal shows them: code points, which is enough for the signs used here. */
function widthOf(text: string): number {
  return Array.from(text).length;
}
