import { field, flag, list, number, orNull, text, type Place } from '../costs/json-reader.ts';

/** A proof as a page of Markdown: what was chosen, what it costs and gains, what would change it. */
export function summarise(proof: Place): string {
  const at = (name: string): Place => field(proof, name);
  const sections = [
    `# Selection\n\n${text(at('status'))}: score ${figure(at('value'))}, nothing below ${figure(at('bound'))} exists (bound by multipliers alone: ${figure(at('lpBound'))}).`,
    table(
      '## Constraints',
      ['constraint', 'limit', 'used', 'left', 'price a unit', '1 % tighter', '1 % looser'],
      list((row) => [
        text(field(row, 'name')),
        `${figure(field(row, 'limit'))} ${text(field(row, 'unit'))}`,
        figure(field(row, 'used')),
        figure(field(row, 'slack')),
        figure(field(row, 'shadowPrice')),
        figure(field(row, 'tighter1Percent')),
        figure(field(row, 'looser1Percent')),
      ])(at('constraints')),
    ),
    table(
      '## Layers',
      ['layer', 'experts', 'window', 'given up', 'keeping all would cost', 'pays for', 'kept under noise'],
      list((row) => [
        text(field(row, 'layer')),
        String(number(field(row, 'experts'))),
        windowText(field(row, 'window')),
        figure(field(row, 'givenUp')),
        figure(field(row, 'keepingAll')),
        orNull(text)(field(row, 'pays')) ?? '',
        figure(field(row, 'stability')),
      ])(at('layers')),
    ),
    table('## Predicted gain over the parent', gainHeader, gainRows(at('scenarios'))),
    ...list(referenceSection)(at('references')),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

const gainHeader = ['scenario', 'GPUs', 'tokens/s, parent', 'tokens/s, child', 'ratio', 'band', 'worst seen'];

function gainRows(place: Place): string[][] {
  return list((row) => {
    const speed = (side: string): string => {
      const found = field(row, side);
      return found.value === null ? 'does not fit' : number(field(found, 'tokensPerSecond')).toFixed(0);
    };
    const ratio = orNull(number)(field(row, 'ratio'));
    const percent = (name: string): string =>
      `± ${(100 * number(field(field(row, 'band'), name))).toFixed(0)} %`;
    return [
      text(field(row, 'name')),
      String(number(field(row, 'gpus'))),
      speed('parent'),
      speed('child'),
      ratio === null ? '' : `${ratio.toFixed(2)} ×`,
      percent('mean'),
      percent('worst'),
    ];
  })(place);
}

function referenceSection(place: Place): string {
  const name = text(field(place, 'name'));
  const missing = list(text)(field(place, 'missing'));
  const gains = gainRows(field(place, 'gains'));
  const own = field(place, 'sameBudget');
  const lines = [`## ${name}`, ''];
  if (missing.length > 0) lines.push(`It has choices that were not scored: ${missing.join('; ')}.`);
  else lines.push(`Score ${figure(field(place, 'value'))}.`);
  if (own.value === null) {
    return [...lines, '', table('', gainHeader, gains), layerTable(place, undefined)].join('\n');
  }
  const unlike = number(field(own, 'layersUnlike'));
  lines.push(
    `At its budget the best selection has ${figure(field(own, 'value'))} and differs in ${unlike} layers.`,
  );
  const rows = list((row) => [
    text(field(row, 'name')),
    `${figure(field(row, 'used'))} ${text(field(row, 'unit'))}`,
    figure(field(row, 'limit')),
    flag(field(row, 'isMet')) ? 'yes' : 'no',
  ])(field(place, 'rows'));
  const bestGains = gainRows(field(own, 'gains')).map((row) => row[4] ?? '');
  return [
    ...lines,
    '',
    table('', ['its budget', 'uses', 'limit asked for', 'holds'], rows),
    '',
    table(
      '',
      [...gainHeader, 'best at its budget'],
      gains.map((row, index) => [...row, bestGains[index] ?? '']),
    ),
    '',
    layerTable(place, own),
  ].join('\n');
}

function layerTable(reference: Place, own: Place | undefined): string {
  const shapes = (place: Place): string[] =>
    list((layer) => `${number(field(layer, 'experts'))} / ${windowText(field(layer, 'window'))}`)(
      field(place, 'layers'),
    );
  const best = own === undefined ? [] : shapes(own);
  const header = ['layer', 'experts / window', ...(own === undefined ? [] : ['best at its budget', ''])];
  return table(
    '',
    header,
    shapes(reference).map((shape, layer) => {
      const other = best[layer];
      return [
        String(layer),
        shape,
        ...(other === undefined ? [] : [other, other === shape ? '' : 'differs']),
      ];
    }),
  );
}

function table(title: string, header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const lines = [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return `${title === '' ? '' : `${title}\n\n`}${lines.join('\n')}`;
}

function windowText(place: Place): string {
  return String(orNull(number)(place) ?? 'full');
}

function figure(place: Place): string {
  const value = orNull(number)(place);
  return value === null ? '' : Number(value.toPrecision(6)).toString();
}
