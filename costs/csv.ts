import { Failure } from '../core/errors.ts';

export interface CsvRow {
  /** Line of the file on which the row begins, from 1. */
  line: number;
  /** Column name to text; spaces at the ends of unquoted cells do not count. */
  cells: ReadonlyMap<string, string>;
}

/** RFC 4180 with a header row: quoted cells may hold commas, line breaks and doubled quotes. Empty lines are skipped. */
export function parseCsv(
  text: string,
  path: string,
  columns: { required: readonly string[]; optional: readonly string[] },
): CsvRow[] {
  const [header, ...rows] = readLines(text, path);
  if (header === undefined) throw new Failure('BAD_INPUT', `${path}: expected a header row, found nothing`);
  const known = [...columns.required, ...columns.optional];
  const faults = [
    ...columns.required.filter((name) => !header.cells.includes(name)).map((name) => `no column ${name}`),
    ...header.cells.filter((name) => !known.includes(name)).map((name) => `unknown column ${name}`),
    ...header.cells.filter((name, at) => header.cells.indexOf(name) !== at).map((name) => `${name} twice`),
  ];
  if (faults.length > 0)
    throw new Failure(
      'BAD_INPUT',
      `${path}:${header.line}: ${faults.join(', ')}; known: ${known.join(', ')}`,
    );
  return rows.map(({ line, cells }) => {
    if (cells.length !== header.cells.length) {
      throw new Failure(
        'BAD_INPUT',
        `${path}:${line}: expected ${header.cells.length} cells, found ${cells.length}`,
      );
    }
    return { line, cells: new Map(header.cells.map((name, index) => [name, cells[index] ?? ''])) };
  });
}

interface Line {
  line: number;
  cells: string[];
}

/** One cell after another: quoted, or up to the next comma or line break; then what ended it. */
const cellPattern = /(?:"((?:[^"]|"")*)"[ \t]*|([^",\r\n]*))(,|\r?\n|$)/y;

function readLines(text: string, path: string): Line[] {
  const lines: Line[] = [];
  let [at, line] = [text.startsWith('\ufeff') ? 1 : 0, 1];
  let current: Line = { line, cells: [] };
  while (at < text.length || current.cells.length > 0) {
    cellPattern.lastIndex = at;
    const match = cellPattern.exec(text);
    if (match === null) throw new Failure('BAD_INPUT', `${path}:${line}: a quote in the wrong place`);
    const [all, quoted, plain, end] = match;
    current.cells.push(quoted === undefined ? (plain ?? '').trim() : quoted.replaceAll('""', '"'));
    line += all.split('\n').length - 1;
    at += all.length;
    if (end === ',') continue;
    if (current.cells.length > 1 || current.cells[0] !== '') lines.push(current);
    current = { line, cells: [] };
  }
  return lines;
}
