// Resolves engine/requirements.in into engine/requirements.lock: every package at one version, with
// the sha256 of each file published for it, so that any platform can check what it downloads.
// torch has no hash: its builds differ by index (see README). Run it when requirements.in changes.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const python = `${root}.venv/bin/python`;
const run = (args) => execFileSync(python, args, { encoding: 'utf8', maxBuffer: 1 << 28, cwd: root });

const report = JSON.parse(
  run([
    '-m',
    'pip',
    'install',
    '--quiet',
    '--dry-run',
    '--ignore-installed',
    '--report',
    '-',
    '-r',
    'engine/requirements.in',
  ]),
);
const index =
  process.env.PIP_INDEX_URL ??
  run(['-c', 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)']).trim();

const lines = [];
for (const { metadata } of report.install) {
  const name = metadata.name.toLowerCase().replace(/[-_.]+/g, '-');
  if (name === 'torch') {
    lines.push([name, `torch==${metadata.version.split('+')[0]}`]);
    continue;
  }
  lines.push([
    name,
    [`${name}==${metadata.version}`, ...(await hashes(name, metadata.version))].join(' \\\n    '),
  ]);
}
lines.sort(([a], [b]) => (a < b ? -1 : 1));
const head = '# Made by infra/setup/lock.mjs from requirements.in; do not edit.\n';
writeFileSync(`${root}engine/requirements.lock`, head + lines.map(([, text]) => `${text}\n`).join(''));
console.log(`engine/requirements.lock: ${lines.length} packages`);

/** `--hash=` options of every wheel and sdist of one release, from the index's JSON (PEP 691). */
async function hashes(name, version) {
  const answer = await fetch(`${index.replace(/\/$/, '')}/${name}/`, {
    headers: { accept: 'application/vnd.pypi.simple.v1+json' },
  });
  if (!answer.ok) throw new Error(`${name}: the index answered ${answer.status}`);
  const { files } = await answer.json();
  const plain = (text) => text.toLowerCase().replace(/[-_.]+/g, '-');
  const prefix = `${name}-${plain(version)}`;
  const found = files
    .filter((file) => {
      const rest = plain(file.filename.replace(/\.(tar\.gz|zip|whl)$/, ''));
      return rest === prefix || rest.startsWith(`${prefix}-`);
    })
    .map((file) => file.hashes.sha256)
    .filter(Boolean)
    .sort();
  if (found.length === 0) throw new Error(`${name} ${version}: no file with a sha256 in the index`);
  return found.map((hash) => `--hash=sha256:${hash}`);
}
