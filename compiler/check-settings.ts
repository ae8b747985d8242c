import type { Json } from '../core/canonical-json.ts';
import type { ArraySetting, NumberSetting, ObjectSetting, Setting, StringSetting } from '../kinds/setting.ts';
import { suggestion } from './suggest.ts';
import {
  describe,
  type Faults,
  type ListNode,
  type MapNode,
  type Node,
  type Place,
  type ScalarNode,
} from './tree.ts';

export interface Checking {
  faults: Faults;
  /** For messages: `distill.with`. */
  path: string;
}

/**
 * Checks a value against its setting and fills in defaults. Every fault is added; `undefined` only
 * when the value cannot be used. (Ajv would say the same without places: a test compares the two.)
 */
export function checkSetting(node: Node, setting: Setting, checking: Checking): Json | undefined {
  if ('anyOf' in setting) {
    const fitting = setting.anyOf.find((candidate) => fits(node, candidate));
    if (fitting !== undefined) return checkSetting(node, fitting, checking);
    return wrongType(node, setting.anyOf.map(nameOf).join(' or '), checking);
  }
  if (!fits(node, setting)) return wrongType(node, nameOf(setting), checking);
  if (node.kind === 'map') {
    return setting.type === 'object'
      ? checkMap(node, setting, { ...checking, place: node.place })
      : undefined;
  }
  if (node.kind === 'list') return setting.type === 'array' ? checkList(node, setting, checking) : undefined;
  if (setting.type === 'integer' || setting.type === 'number') return checkNumber(node, setting, checking);
  return setting.type === 'string' ? checkString(node, setting, checking) : node.value;
}

/** The same for a map that may be absent; `place` is where a missing key is reported. */
export function checkMap(
  node: MapNode | undefined,
  setting: ObjectSetting,
  checking: Checking & { place: Place },
): Record<string, Json> {
  const { faults, path } = checking;
  const values: Record<string, Json> = {};
  for (const [key, { keyPlace, value }] of node?.entries ?? []) {
    const known = setting.properties[key] ?? (setting.additionalProperties || undefined);
    if (known === undefined) {
      const hint = suggestion(key, Object.keys(setting.properties));
      faults.add('UNKNOWN_SETTING', keyPlace, { message: `${path}: unknown setting ${key}`, hint });
      continue;
    }
    const checked = checkSetting(value, known, { faults, path: `${path}.${key}` });
    if (checked !== undefined) values[key] = checked;
  }
  refuseMissing(node, setting, checking);
  for (const [key, { default: fallback }] of Object.entries(setting.properties)) {
    if (fallback !== undefined && node?.entries.has(key) !== true) values[key] = fallback;
  }
  return values;
}

function refuseMissing(
  node: MapNode | undefined,
  setting: ObjectSetting,
  { faults, path, place }: Checking & { place: Place },
): void {
  for (const key of setting.required ?? []) {
    if (node?.entries.has(key) === true) continue;
    const meaning = setting.properties[key]?.description;
    const hint = meaning === undefined ? undefined : `${key}: ${meaning}`;
    faults.add('MISSING_SETTING', place, { message: `${path}: ${key} is required`, hint });
  }
}

function fits(node: Node, setting: Setting): boolean {
  if ('anyOf' in setting) return setting.anyOf.some((candidate) => fits(node, candidate));
  if (node.kind === 'map') return setting.type === 'object';
  if (node.kind === 'list') return setting.type === 'array';
  if (node.value === null) return setting.type === 'null';
  return typeof node.value === (setting.type === 'integer' ? 'number' : setting.type);
}

function checkList(node: ListNode, setting: ArraySetting, checking: Checking): Json[] {
  const { faults, path } = checking;
  const values: Json[] = [];
  const seen = new Set<string>();
  node.items.forEach((item, index) => {
    const value = checkSetting(item, setting.items, { faults, path: `${path}[${index}]` });
    if (value === undefined) return;
    const text = JSON.stringify(value);
    if (setting.uniqueItems === true && seen.has(text)) {
      faults.add('BAD_VALUE', item.place, { message: `${path}: ${text} is here twice` });
    }
    seen.add(text);
    values.push(value);
  });
  if (node.items.length < (setting.minItems ?? 0)) {
    faults.add('OUT_OF_RANGE', node.place, {
      message: `${path}: expected at least ${setting.minItems ?? 0} item`,
    });
  }
  return values;
}

function checkNumber(
  node: ScalarNode,
  setting: NumberSetting,
  { faults, path }: Checking,
): number | undefined {
  const value = node.value;
  if (typeof value !== 'number') return undefined;
  if (setting.type === 'integer' && !Number.isSafeInteger(value)) {
    faults.add('WRONG_TYPE', node.place, { message: `${path}: expected an integer, found ${value}` });
    return undefined;
  }
  const broken = brokenLimits(value, setting);
  if (broken.length > 0) {
    const unit = setting.unit === undefined ? '' : ` ${setting.unit}`;
    const message = `${path}: expected ${broken.join(' and ')}${unit}, found ${value}`;
    faults.add('OUT_OF_RANGE', node.place, { message, hint: setting.description });
  }
  return value;
}

function brokenLimits(value: number, { minimum, exclusiveMinimum, maximum }: NumberSetting): string[] {
  const broken: string[] = [];
  if (minimum !== undefined && value < minimum) broken.push(`at least ${minimum}`);
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum)
    broken.push(`more than ${exclusiveMinimum}`);
  if (maximum !== undefined && value > maximum) broken.push(`at most ${maximum}`);
  return broken;
}

function checkString(
  node: ScalarNode,
  setting: StringSetting,
  { faults, path }: Checking,
): string | undefined {
  const value = node.value;
  if (typeof value !== 'string') return undefined;
  if (setting.enum !== undefined && !setting.enum.includes(value)) {
    const message = `${path}: expected one of ${setting.enum.join(', ')}; found ${JSON.stringify(value)}`;
    faults.add('BAD_VALUE', node.place, { message, hint: suggestion(value, setting.enum) });
  }
  if (value.length < (setting.minLength ?? 0)) {
    faults.add('BAD_VALUE', node.place, {
      message: `${path}: expected some text`,
      hint: setting.description,
    });
  }
  if (setting.pattern !== undefined && !new RegExp(setting.pattern, 'u').test(value)) {
    const message = `${path}: ${JSON.stringify(value)} does not look right`;
    faults.add('BAD_VALUE', node.place, { message, hint: `${setting.description} (${setting.pattern})` });
  }
  return value;
}

function wrongType(node: Node, expected: string, { faults, path }: Checking): Json | undefined {
  // A broken expression has been reported where it stands.
  if (node.kind === 'scalar' && node.value === null && faults.has(node.place)) return undefined;
  const isQuotable = node.kind === 'scalar' && typeof node.value === 'number' && expected.includes('text');
  const hint = isQuotable ? `quote it: "${String(node.value)}"` : undefined;
  faults.add('WRONG_TYPE', node.place, {
    message: `${path}: expected ${expected}, found ${describe(node)}`,
    hint,
  });
  return undefined;
}

function nameOf(setting: Setting): string {
  if ('anyOf' in setting) return setting.anyOf.map(nameOf).join(' or ');
  switch (setting.type) {
    case 'object':
      return 'a map';
    case 'array':
      return 'a list';
    case 'integer':
      return 'an integer';
    case 'number':
      return 'a number';
    case 'string':
      return setting.enum === undefined ? 'text' : `one of ${setting.enum.join(', ')}`;
    case 'boolean':
      return 'true or false';
    case 'null':
      return 'null';
  }
}
