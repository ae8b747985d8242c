import { suggestion } from './suggest.ts';
import { describe, type Entry, type Faults, type Node, type Place, type ScalarNode } from './tree.ts';

/** What `${params.x}` and `${matrix.x}` mean at one place. */
export interface Scope {
  params: ReadonlyMap<string, Node>;
  matrix: ReadonlyMap<string, ScalarNode>;
}

export interface NamesUsed {
  params: Set<string>;
  matrix: Set<string>;
}

const expression = /\$\$\{|\$\{([^}]*)\}?/g;
const known = /^(params|matrix)\.([A-Za-z_][A-Za-z0-9_-]*)$/;

/**
 * Replaces `${params.x}` and `${matrix.x}`: alone it keeps the value's type, inside text it makes
 * text. `$${` is a literal `${`. There is no other expression language.
 */
export function substitute(node: Node, scope: Scope, faults: Faults): Node {
  if (node.kind === 'scalar') return substituteScalar(node, scope, faults);
  if (node.kind === 'list') {
    const items = node.items.map((item) => substitute(item, scope, faults));
    return items.every((item, i) => item === node.items[i]) ? node : { ...node, items };
  }
  let changed = false;
  const entries = new Map<string, Entry>();
  for (const [key, entry] of node.entries) {
    const value = substitute(entry.value, scope, faults);
    changed ||= value !== entry.value;
    entries.set(key, value === entry.value ? entry : { ...entry, value });
  }
  return changed ? { ...node, entries } : node;
}

/** Collects the names that a tree's expressions use, known or not. */
export function collectNames(node: Node, names: NamesUsed): void {
  if (node.kind === 'list') for (const item of node.items) collectNames(item, names);
  else if (node.kind === 'map') for (const { value } of node.entries.values()) collectNames(value, names);
  else if (typeof node.value === 'string' && node.value.includes('${')) {
    for (const [, inner] of node.value.matchAll(expression)) {
      const found = inner === undefined ? null : known.exec(inner.trim());
      if (found?.[2] !== undefined) names[found[1] === 'params' ? 'params' : 'matrix'].add(found[2]);
    }
  }
}

function substituteScalar(node: ScalarNode, scope: Scope, faults: Faults): Node {
  const text = node.value;
  if (typeof text !== 'string' || !text.includes('${')) return node;
  const whole = /^\$\{([^}]*)\}$/.exec(text);
  if (whole?.[1] !== undefined) {
    const value = lookUp(whole[1], { scope, place: node.place, faults });
    return value === undefined ? { ...node, value: null } : movedTo(value, node.place);
  }
  const made = text.replace(expression, (found, inner: string | undefined) => {
    if (found === '$${') return '${';
    if (!found.endsWith('}')) {
      faults.add('BAD_EXPRESSION', node.place, {
        message: '${ without }',
        hint: 'write $${ for a literal ${',
      });
      return '';
    }
    const value = lookUp(inner ?? '', { scope, place: node.place, faults });
    return value === undefined ? '' : asText(value, node.place, { inner: inner ?? '', faults });
  });
  return { ...node, value: made };
}

function asText(value: Node, place: Place, { inner, faults }: { inner: string; faults: Faults }): string {
  if (value.kind === 'scalar' && value.value !== null) return String(value.value);
  faults.add('BAD_EXPRESSION', place, {
    message: `\${${inner}} is ${describe(value)} and cannot be part of text`,
    hint: `write "\${${inner}}" alone to keep its type`,
  });
  return '';
}

function lookUp(inner: string, at: { scope: Scope; place: Place; faults: Faults }): Node | undefined {
  const { scope, place, faults } = at;
  const found = known.exec(inner.trim());
  if (found?.[1] === undefined || found[2] === undefined) {
    const hint = 'only ${params.x} and ${matrix.x} are expressions; write $${ for a literal ${';
    faults.add('BAD_EXPRESSION', place, { message: `\${${inner}} is not an expression`, hint });
    return undefined;
  }
  const [, space, name] = found;
  const names: ReadonlyMap<string, Node> = space === 'params' ? scope.params : scope.matrix;
  const value = names.get(name);
  if (value === undefined) {
    const message = space === 'params' ? `there is no param ${name}` : `this stage has no matrix ${name}`;
    const hint =
      names.size === 0 && space === 'params' ? 'this spec has no params' : suggestion(name, names.keys());
    faults.add('UNKNOWN_PARAM', place, { message, hint });
  }
  return value;
}

/** A param's value where it is used: faults are shown there, the origin is kept. */
function movedTo(node: Node, place: Place): Node {
  if (node.kind === 'scalar') return { ...node, place, origin: node.origin ?? node.place };
  if (node.kind === 'list') return { ...node, place, items: node.items.map((item) => movedTo(item, place)) };
  const entries = new Map(
    [...node.entries].map(([key, { value }]) => [key, { keyPlace: place, value: movedTo(value, place) }]),
  );
  return { ...node, place, entries };
}
