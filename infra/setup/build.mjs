/** Bundles the command line, the worker, the job runner and the workflows into dist/. */
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const dist = join(root, 'dist');
const fresh = join(root, `dist.${process.pid}.partial`);

rmSync(fresh, { recursive: true, force: true });
mkdirSync(fresh);
await Promise.all([bundleNode(), bundleWorkflows()]);
writeFileSync(
  join(fresh, 'build.json'),
  `${JSON.stringify({ schema: 'fretsaw/build/v1', build: digestOf(fresh) })}\n`,
);
publish();

async function bundleNode() {
  const entries = {
    fretsaw: 'cli/main.ts',
    worker: 'workers/main.ts',
    job: 'workers/job.ts',
    spawner: 'workers/spawner.ts',
  };
  const present = Object.entries(entries).filter(([, path]) => existsSync(join(root, path)));
  await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(present),
    outdir: fresh,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    // Of packages that are built twice the modules: they load in parts (the AWS SDK in half the time).
    mainFields: ['module', 'main'],
    // Ours and the small pure ones go in; what has native code or is heavy stays in node_modules.
    external: ['@temporalio/*', '@huggingface/*', '@kubernetes/*', 'onnxruntime-node', 'highs', 'protobufjs'],
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    sourcemap: 'linked',
    legalComments: 'none',
    minifySyntax: true,
    logLevel: 'warning',
  });
}

async function bundleWorkflows() {
  const { bundleWorkflowCode } = await import('@temporalio/worker');
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(root, 'workflows', 'index.ts'),
    logger: quiet(),
    webpackConfigHook: (config) => ({
      ...config,
      resolve: { ...config.resolve, extensionAlias: { '.ts': ['.ts'] } },
    }),
  });
  writeFileSync(join(fresh, 'workflows.js'), code);
}

function quiet() {
  const nothing = () => undefined;
  return {
    log: nothing,
    trace: nothing,
    debug: nothing,
    info: nothing,
    warn: console.warn,
    error: console.error,
  };
}

/** Source maps hold paths, so they do not count. */
function digestOf(folder) {
  const hash = createHash('sha256');
  for (const path of readdirSync(folder, { recursive: true }).map(String).sort()) {
    if (path.endsWith('.js')) hash.update(`${path}\0`).update(readFileSync(join(folder, path)));
  }
  return hash.digest('hex');
}

/** The old build stays whole until the new one is: two renames. What else lies in dist/ (test reports) stays. */
function publish() {
  const old = join(root, `dist.${process.pid}.old`);
  if (existsSync(dist)) {
    renameSync(dist, old);
    for (const name of readdirSync(old)) {
      const isBuilt = name === 'chunks' || name === 'build.json' || /\.js(\.map)?$/.test(name);
      if (!isBuilt && !existsSync(join(fresh, name))) renameSync(join(old, name), join(fresh, name));
    }
  }
  renameSync(fresh, dist);
  rmSync(old, { recursive: true, force: true });
}
