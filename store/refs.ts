import { createGeneration, latestGeneration } from './generations.ts';
import type { ObjectBackend } from './object-backend.ts';
import { checkRefName, objectNames, parseNumber } from './object-names.ts';
import type { Refs } from './store.ts';

export function createRefs(backend: ObjectBackend): Refs {
  return {
    read: async (name) => latestGeneration(backend, objectNames.ref(checkRefName(name))),
    async create(name, generation, text) {
      const folder = objectNames.ref(checkRefName(name));
      return (await createGeneration(backend, folder, { generation, text })).created;
    },
    async list(prefix) {
      const names = new Set<string>();
      for (const object of await backend.list('refs')) {
        const segments = object.split('/').slice(1);
        if (parseNumber(segments.at(-1) ?? '') !== undefined) names.add(segments.slice(0, -1).join('/'));
      }
      return [...names].filter((name) => name.startsWith(prefix)).sort();
    },
  };
}
