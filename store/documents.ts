import { readText } from './generations.ts';
import type { ObjectBackend } from './object-backend.ts';
import { checkDocumentPath } from './object-names.ts';
import type { Documents } from './store.ts';

export function createDocuments(backend: ObjectBackend): Documents {
  return {
    read: async (path) => readText(backend, checkDocumentPath(path)),
    create: async (path, text) => backend.create(checkDocumentPath(path), Buffer.from(text, 'utf8')),
    async list(prefix) {
      const folder = prefix.slice(0, Math.max(prefix.lastIndexOf('/'), 0));
      if (folder === '')
        throw new Error(`bug: documents are listed below a folder, not ${JSON.stringify(prefix)}`);
      const names = await backend.list(checkDocumentPath(folder));
      return names.filter((name) => name.startsWith(prefix)).sort();
    },
  };
}
