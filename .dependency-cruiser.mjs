/** The import table: folders are the architecture. A wrong arrow or a cycle fails the build. */
const allowed = {
  core: [],
  costs: ['core'],
  selection: ['core', 'costs'],
  kinds: ['core', 'costs'],
  compiler: ['core', 'kinds', 'costs'],
  store: ['core'],
  lineage: ['core'],
  evaluation: ['core'],
  report: ['core'],
  workflows: ['core'],
  activities: ['core', 'kinds', 'store', 'lineage', 'selection', 'costs', 'evaluation', 'report'],
  workers: ['core', 'activities', 'store', 'lineage'],
  cli: [
    'core',
    'compiler',
    'kinds',
    'costs',
    'selection',
    'store',
    'lineage',
    'evaluation',
    'report',
    'workers',
  ],
};
const typesOnly = {
  store: ['kinds'],
  lineage: ['kinds', 'store'],
  evaluation: ['kinds'],
  report: ['kinds', 'store'],
  workflows: ['compiler', 'kinds', 'activities'],
  activities: ['compiler'],
  workers: ['compiler'],
  cli: ['workflows'],
};
/** Single files that may cross where their folder may not. */
const doors = { activities: ['compiler/bind\\.ts'], cli: ['activities/job-main\\.ts'] };

const folders = Object.keys(allowed);
const arrow = (from) => {
  const reach = [from, ...allowed[from], ...(typesOnly[from] ?? [])];
  return {
    name: `${from}-imports`,
    severity: 'error',
    from: { path: `^${from}/` },
    to: {
      path: `^(${folders.join('|')})/`,
      pathNot: [`^(${reach.join('|')})/`, ...(doors[from] ?? []).map((file) => `^${file}$`)],
    },
  };
};
const typeArrow = (from) => ({
  name: `${from}-types-only`,
  severity: 'error',
  from: { path: `^${from}/` },
  to: {
    path: `^(${typesOnly[from].join('|')})/`,
    pathNot: (doors[from] ?? []).map((file) => `^${file}$`),
    dependencyTypesNot: ['type-only'],
  },
});

export default {
  forbidden: [
    {
      name: 'no-cycle',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'core-is-pure',
      severity: 'error',
      from: { path: '^(core|selection|costs)/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'workflows-no-node',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { dependencyTypes: ['core'] },
    },
    ...folders.map(arrow),
    ...Object.keys(typesOnly).map(typeArrow),
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default'],
    },
  },
};
