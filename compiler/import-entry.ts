import { importKind, importTypes } from '../kinds/import.ts';
import { howKeys, howOf } from './how.ts';
import type { SpecReader, StageText } from './spec.ts';
import type { Entry, MapNode } from './tree.ts';

const importKeys = [...importTypes, 'description', 'revision', 'digest', 'record', 'token', ...howKeys];

/**
 * An entry of `inputs:` as the stage that it is: `{checkpoint: <location>, ...}` is of kind import, with
 * the settings type and location.
 */
export function readImport(name: string, { keyPlace, value }: Entry, reader: SpecReader): StageText {
  const { faults } = reader;
  const unread = { name, place: keyPlace, kind: undefined, inputs: undefined, with: undefined, matrix: [] };
  if (value.kind !== 'map') {
    reader.wrongType(value, `inputs.${name}`, 'a map like {checkpoint: <location>}');
    return { ...unread, how: new Map() };
  }
  reader.refuseUnknown(value, importKeys, 'an input');
  const [type, another] = importTypes.filter((known) => value.entries.has(known));
  if (type === undefined) {
    const message = `inputs.${name}: one of ${importTypes.join(', ')} is required`;
    faults.add('MISSING_KEY', keyPlace, {
      message,
      hint: 'it names the location, e.g. checkpoint: ./parent',
    });
    return { ...unread, how: howOf(value) };
  }
  if (another !== undefined) {
    const place = value.entries.get(another)?.keyPlace ?? keyPlace;
    faults.add('BAD_VALUE', place, {
      message: `inputs.${name}: both ${type} and ${another}`,
      hint: 'keep one',
    });
  }
  return { ...unread, kind: importKind, with: settingsOf(type, value), how: howOf(value) };
}

function settingsOf(type: string, value: MapNode): MapNode {
  const entries = new Map<string, Entry>();
  const location = value.entries.get(type);
  if (location !== undefined) {
    const { keyPlace } = location;
    entries.set('type', { keyPlace, value: { kind: 'scalar', place: keyPlace, value: type } });
    entries.set('location', location);
  }
  for (const key of ['revision', 'digest', 'record', 'token']) {
    const entry = value.entries.get(key);
    if (entry !== undefined) entries.set(key, entry);
  }
  return { kind: 'map', place: value.place, entries };
}
