import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import { createGeneration, generationsOf, latestGeneration, readText } from './generations.ts';
import type { ObjectBackend } from './object-backend.ts';
import { inParallel } from './in-parallel.ts';
import { checkDomain, digestsOf, objectNames, parseNumber } from './object-names.ts';
import type { RecordAnswers, Records, StoredRecord } from './store.ts';

export interface Trust {
  /** Where this process writes, and looks first. */
  domain: string;
  /** Further domains whose records count, in this order. */
  trusted: readonly string[];
}

/** Records read at once when all are wanted. */
const readsAtOnce = 32;
/** Beyond so many, only those that are asked for are read. */
const readAheadLimit = 5000;

export function createRecords(backend: ObjectBackend, trust: Trust & { asksInBulk: boolean }): Records {
  const domains = [...new Set([trust.domain, ...trust.trusted])].map(checkDomain);

  async function historyIn(domain: string, key: StageKey): Promise<StoredRecord[]> {
    const folder = objectNames.record(domain, key);
    const records: StoredRecord[] = [];
    for (const generation of await generationsOf(backend, folder)) {
      const envelope = await readText(backend, `${folder}/${generation}`);
      if (envelope !== undefined) records.push({ key, domain, generation, envelope });
    }
    return records;
  }

  const records: Records = {
    domain: trust.domain,
    async latest(key) {
      for (const domain of domains) {
        const found = await latestGeneration(backend, objectNames.record(domain, key));
        if (found !== undefined) return { key, domain, generation: found.generation, envelope: found.text };
      }
      return undefined;
    },
    async history(key) {
      const all: StoredRecord[] = [];
      for (const domain of domains) all.push(...(await historyIn(domain, key)));
      return all.sort((a, b) => a.generation - b.generation);
    },
    async create(key, generation, envelope) {
      const folder = objectNames.record(trust.domain, key);
      const { created, text } = await createGeneration(backend, folder, { generation, text: envelope });
      return { created, record: { key, domain: trust.domain, generation, envelope: text } };
    },
    async keys() {
      const names = new Set<string>();
      for (const domain of domains)
        for (const name of await backend.children(`records/${domain}`)) names.add(name);
      // Made only from the digests of key documents, under which records were created.
      return digestsOf([...names].sort()) as StageKey[];
    },
    asOfNow: async () => (trust.asksInBulk ? allRecords(backend, domains) : records),
  };
  return records;
}

/** Every name from one list, and the records themselves read beside each other. */
async function allRecords(backend: ObjectBackend, domains: readonly string[]): Promise<RecordAnswers> {
  const named = new Map<string, { domain: string; generation: number; name: string }[]>();
  for (const domain of domains) {
    for (const name of await backend.list(`records/${domain}`)) {
      const [hex = '', number = ''] = name.split('/').slice(2);
      const generation = parseNumber(number);
      if (generation === undefined) continue;
      named.set(hex, [...(named.get(hex) ?? []), { domain, generation, name }]);
    }
  }
  const texts = new Map<string, string>();
  const all = [...named.values()].flat();
  await inParallel(all.length <= readAheadLimit ? all : [], readsAtOnce, async ({ name }) => {
    const text = await readText(backend, name);
    if (text !== undefined) texts.set(name, text);
  });
  const read = async (key: StageKey): Promise<StoredRecord[]> => {
    const found: StoredRecord[] = [];
    for (const { domain, generation, name } of named.get(hexOf(key)) ?? []) {
      const envelope = texts.get(name) ?? (await readText(backend, name));
      if (envelope !== undefined) found.push({ key, domain, generation, envelope });
    }
    return found.sort((a, b) => a.generation - b.generation);
  };
  return {
    latest: async (key) => {
      const found = await read(key);
      const domain = domains.find((one) => found.some((record) => record.domain === one));
      return found.filter((record) => record.domain === domain).at(-1);
    },
    history: read,
    keys: async () => digestsOf([...named.keys()].sort()) as StageKey[],
  };
}
