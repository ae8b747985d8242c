import type { Evidence } from './evidence.ts';
import { headline } from './headline.ts';
import { textOf, type Section, type Table } from './section.ts';

/** The same sections without pictures; every picture has its table. */
export function toMarkdown(evidence: Evidence, sections: readonly Section[]): string {
  const tiles = headline(evidence).map((tile) => `- **${tile.value}** ${tile.name}`);
  return [
    `# ${evidence.title}`,
    '',
    ...tiles,
    ...(tiles.length === 0 ? [] : ['']),
    ...sections.flatMap(sectionLines),
  ].join('\n');
}

function sectionLines(section: Section): string[] {
  return [
    `## ${section.title}`,
    '',
    section.lead,
    '',
    ...section.tables.flatMap(tableLines),
    ...section.notes.flatMap((note) => [`> ${note}`, '']),
  ];
}

function tableLines(table: Table): string[] {
  return [
    `**${table.caption}**`,
    '',
    `| ${table.columns.map((column) => escapePipes(column.title)).join(' | ')} |`,
    `|${table.columns.map((column) => (column.align === 'right' ? '---:' : '---')).join('|')}|`,
    ...table.rows.map(
      (row) =>
        `| ${row.map((cell) => emphasised(escapePipes(textOf(cell)), typeof cell !== 'string' && cell.tone === 'strong')).join(' | ')} |`,
    ),
    '',
  ];
}

function emphasised(text: string, isStrong: boolean): string {
  return isStrong && text !== '' ? `**${text}**` : text;
}

function escapePipes(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
