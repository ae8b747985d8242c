import type { StageKey } from '../core/keys.ts';
import { createGeneration, generationsOf, latestGeneration, readText } from './generations.ts';
import type { ObjectBackend } from './object-backend.ts';
import { checkDomain, digestsOf, objectNames } from './object-names.ts';
import type { Records, StoredRecord } from './store.ts';

export interface Trust {
  /** Where this process writes, and looks first. */
  domain: string;
  /** Further domains whose records count, in this order. */
  trusted: readonly string[];
}

export function createRecords(backend: ObjectBackend, trust: Trust): Records {
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

  return {
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
  };
}
