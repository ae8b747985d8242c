/** Top-level folders of TypeScript sources, in the order of their imports: each may read those before it. */
export const sourceFolders = [
  'core',
  'compiler',
  'kinds',
  'costs',
  'selection',
  'store',
  'lineage',
  'evaluation',
  'report',
  'workflows',
  'activities',
  'workers',
  'cli',
];
