import type { Evidence } from './evidence.ts';
import { headline } from './headline.ts';
import { textOf, type Cell, type Figure, type Section, type Table } from './section.ts';
import { escapeMarkup } from './svg.ts';
import { style } from './style.ts';

/** One file, no scripts, nothing loaded from elsewhere. */
export function toHtml(evidence: Evidence, sections: readonly Section[]): string {
  const tiles = headline(evidence).map(
    (tile) =>
      `<div class="tile"><b${tile.tone === undefined ? '' : ` class="${tile.tone}"`}>${escapeMarkup(tile.value)}</b><span>${escapeMarkup(tile.name)}</span></div>`,
  );
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>${escapeMarkup(evidence.title)}</title><style>${style}</style></head><body><main>`,
    `<header><h1>${escapeMarkup(evidence.title)}</h1>`,
    `<p class="sub">Compressed by score, select, distil, reinforce, average and calibrate; evaluated at every effort.</p>`,
    tiles.length === 0 ? '' : `<div class="tiles">${tiles.join('')}</div>`,
    `<nav>${sections.map((section) => `<a href="#${section.id}">${escapeMarkup(section.title)}</a>`).join(' ')}</nav></header>`,
    ...sections.map(sectionHtml),
    '</main></body></html>',
    '',
  ].join('\n');
}

function sectionHtml(section: Section): string {
  return [
    `<section id="${section.id}"><h2>${escapeMarkup(section.title)}</h2>`,
    `<p class="lead">${inlineCode(escapeMarkup(section.lead))}</p>`,
    figuresHtml(section.figures),
    ...section.tables.map(tableHtml),
    ...section.notes.map((note) => `<p class="note">${escapeMarkup(note)}</p>`),
    '</section>',
  ].join('\n');
}

/** Figures without a caption of their own are small multiples and share a grid. */
function figuresHtml(figures: readonly Figure[]): string {
  const multiples = figures.filter((figure) => figure.caption === '');
  const single = figures.filter((figure) => figure.caption !== '');
  const isWide = multiples.some((figure) => /width="(4|5|6|7|8|9)\d\d"/.test(figure.svg.slice(0, 120)));
  const grid = multiples.map((figure) => `<figure>${figure.svg}</figure>`).join('');
  return [
    ...single.map(
      (figure) => `<figure>${figure.svg}<figcaption>${escapeMarkup(figure.caption)}</figcaption></figure>`,
    ),
    grid === '' ? '' : `<div class="many${isWide ? ' wide' : ''}">${grid}</div>`,
  ].join('\n');
}

function tableHtml(table: Table): string {
  const head = table.columns.map(
    (column) => `<th${column.align === 'right' ? ' class="r"' : ''}>${escapeMarkup(column.title)}</th>`,
  );
  const rows = table.rows.map(
    (row) =>
      `<tr>${row.map((cell, index) => cellHtml(cell, table.columns[index]?.align ?? 'left')).join('')}</tr>`,
  );
  const caption = table.isDetail === true ? '' : `<caption>${escapeMarkup(table.caption)}</caption>`;
  const body = `<div class="table"><table>${caption}<thead><tr>${head.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
  return table.isDetail === true
    ? `<details><summary>${escapeMarkup(table.caption)}</summary>${body}</details>`
    : body;
}

function cellHtml(cell: Cell, align: 'left' | 'right'): string {
  const classes = [align === 'right' ? 'r' : '', typeof cell === 'string' ? '' : cell.tone].filter(
    (name) => name !== '',
  );
  return `<td${classes.length === 0 ? '' : ` class="${classes.join(' ')}"`}>${escapeMarkup(textOf(cell))}</td>`;
}

function inlineCode(escaped: string): string {
  return escaped.replace(/`([^`]+)`/g, '<code>$1</code>');
}
