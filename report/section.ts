/** One part of the report, rendered alike as HTML, Markdown and terminal text. */
export interface Section {
  id: string;
  title: string;
  /** What is to be seen, in a sentence or two. */
  lead: string;
  figures: Figure[];
  tables: Table[];
  notes: string[];
}

export interface Figure {
  /** A whole <svg> element. */
  svg: string;
  caption: string;
}

export interface Table {
  caption: string;
  columns: Column[];
  rows: Cell[][];
  /** Long tables are folded away in HTML. */
  isDetail?: boolean;
}

export interface Column {
  title: string;
  align: 'left' | 'right';
}

export type Cell = string | { text: string; tone: 'good' | 'bad' | 'strong' | 'faint' };

export function left(title: string): Column {
  return { title, align: 'left' };
}

export function right(title: string): Column {
  return { title, align: 'right' };
}

export function textOf(cell: Cell): string {
  return typeof cell === 'string' ? cell : cell.text;
}
