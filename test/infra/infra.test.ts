import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { readPool } from '../../compiler/read-pool.ts';
import { renderDiagnostics } from '../../compiler/render-diagnostics.ts';
import { startServer, stopServer } from '../../workers/embedded-server.ts';
import { serverFlags } from '../../workers/search-attributes.ts';
import { programPaths } from '../../workers/worker-settings.ts';
import { root } from '../support/built.ts';
import { kubernetesFaults } from '../support/kubernetes-schemas.ts';

const infra = join(root, 'infra');
const text = (...path: string[]): string => readFileSync(join(infra, ...path), 'utf8');

/** Undefined when the program answers; else the reason for the name of what is skipped. */
function lacking(program: string, ...args: string[]): string {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0 ? '' : ` (skipped: no ${program} here)`;
}

interface Deployment {
  kind: string;
  metadata: { name: string };
  spec: {
    template: {
      spec: {
        containers: { env: { name: string; value?: string }[]; command: string[]; args: string[] }[];
      };
    };
  };
}

describe('the chart', () => {
  const objects = parseAllDocuments(text('helm', 'rendered.yaml'))
    .map((document) => document.toJS() as Deployment | null)
    .filter((object) => object !== null);

  test('renders to objects that the official schemas take', () => {
    expect(objects.map(({ kind }) => kind).sort()).toEqual(
      [
        ...[
          'Deployment',
          'Deployment',
          'Deployment',
          'NetworkPolicy',
          'NetworkPolicy',
          'PodDisruptionBudget',
        ],
        ...['Role', 'RoleBinding', 'Service', 'ServiceAccount', 'ServiceAccount'],
      ].sort(),
    );
    for (const object of objects) expect(kubernetesFaults(object), object.metadata.name).toEqual([]);
  });

  test('gives every pool a worker with a file that is right, and nobody a secret in the clear', () => {
    const pools = objects.flatMap(({ kind, spec }) => {
      const [worker] = kind === 'Deployment' ? spec.template.spec.containers : [];
      const pool = worker?.env.find(({ name }) => name === 'FRETSAW_POOL')?.value;
      return worker === undefined || pool === undefined ? [] : [{ worker, pool }];
    });
    expect(pools).toHaveLength(2);
    for (const { worker, pool } of pools) {
      const read = readPool('FRETSAW_POOL', pool);
      if (!read.ok) throw new Error(renderDiagnostics(read.error));
      expect(worker.args).toEqual(['worker', '--pool', read.value.name]);
    }
    expect(text('helm', 'rendered.yaml')).not.toMatch(/name: TEMPORAL_API_KEY\s+value: /);
  });

  const hasHelm = lacking(programPaths.python(root), '-c', 'import helm_python') === '';
  const why = hasHelm ? '' : ' (skipped: no helm_python here; infra/helm/render.py says where it comes from)';
  test.skipIf(why !== '')(`was rendered from what it is now${why}`, () => {
    const { stdout } = spawnSync(programPaths.python(root), [join(infra, 'helm', 'render.py')], {
      encoding: 'utf8',
    });
    expect(stdout).toBe(text('helm', 'rendered.yaml'));
  });
});

describe('Terraform', () => {
  const why = lacking('terraform', 'version');
  test.skipIf(why !== '')(`files are well formed${why}`, () => {
    // Without its providers nothing more can be checked.
    const env = { ...process.env, TF_CLI_CONFIG_FILE: '/dev/null' };
    const checked = spawnSync('terraform', ['fmt', '-check', '-diff', join(infra, 'terraform')], {
      encoding: 'utf8',
      env,
    });
    expect([checked.status, checked.stdout]).toEqual([0, '']);
  });

  test('makes a policy of each file of infra/iam, for its bucket and prefix', () => {
    const files = readdirSync(join(infra, 'iam')).filter((name) => name.endsWith('.json'));
    const parts = /parts = toset\((\[.*?\])\)/.exec(text('terraform', 'iam.tf'))?.[1] ?? '[]';
    expect((JSON.parse(parts) as string[]).map((part) => `${part}.json`).sort()).toEqual(files.sort());
    for (const file of files) {
      const policy = text('iam', file).replaceAll('BUCKET', 'example').replaceAll('PREFIX', 'store');
      expect(JSON.parse(policy)).toMatchObject({ Version: '2012-10-17' });
      expect(policy).toContain('arn:aws:s3:::example/store/');
    }
  });

  test('asks for the search attributes that a self-hosted namespace has, and that runs carry', () => {
    const cloud = [...text('terraform', 'temporal.tf').matchAll(/^ {4}(Fretsaw\w+)\s+= "(\w+)"$/gm)];
    const own = [...text('temporal', 'namespace.sh').matchAll(/^(Fretsaw\w+) (\w+)$/gm)];
    const plain = (found: RegExpExecArray[]): string[] =>
      found.map(([, name = '', type = '']) => `${name} ${type.replaceAll('_', '').toLowerCase()}`);
    expect(plain(own).length).toBeGreaterThan(0);
    expect(plain(cloud)).toEqual(plain(own));
    const carried = serverFlags.filter((flag) => flag.includes('=')).map((flag) => flag.replace('=', ' '));
    expect(carried.map((text) => text.toLowerCase()).sort()).toEqual(
      plain(own)
        .map((text) => text.toLowerCase())
        .sort(),
    );
  });
});

test(
  'a self-hosted namespace gets its retention and search attributes, and can be set up again',
  { timeout: 120_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fretsaw-namespace-'));
    const temporal = programPaths.temporal(root);
    try {
      const { port } = await startServer(folder, temporal);
      const env = { ...process.env, TEMPORAL_ADDRESS: `127.0.0.1:${port}`, TEMPORAL_CLI: temporal };
      for (const days of ['30', '45']) {
        const script = join(infra, 'temporal', 'namespace.sh');
        const { stdout } = spawnSync(script, ['team', days], { env, encoding: 'utf8' });
        expect(stdout).toBe(`team: ${days} days, 6 search attributes\n`);
      }
    } finally {
      await stopServer(folder);
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

describe('images', () => {
  const files = readdirSync(join(infra, 'docker')).filter((name) => name.endsWith('.Dockerfile'));
  const why = lacking('hadolint', '--version');
  test.skipIf(why !== '')(`pass hadolint${why}`, () => {
    const checked = spawnSync(
      'hadolint',
      files.map((name) => join(infra, 'docker', name)),
      { encoding: 'utf8' },
    );
    expect([checked.status, checked.stdout]).toEqual([0, '']);
  });

  test('lie where pools say, and run as the user that jobs have', () => {
    const read = readPool('a.yaml', text('pools', 'kubernetes.yaml'));
    const pool = read.ok ? read.value : undefined;
    for (const file of files) {
      const image = text('docker', file);
      expect(image).toContain(`WORKDIR ${pool?.installation ?? '?'}`);
      expect(image).toContain(`USER ${pool?.kubernetes?.run_as ?? 0}:${pool?.kubernetes?.run_as ?? 0}`);
    }
    expect(files).toEqual(['control.Dockerfile', 'engine.Dockerfile']);
  });
});
