import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './built.ts';

/** One folder for what all test files of a run share; services that one of them started there end with the run. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'fretsaw-run-'));
  process.env['FRETSAW_TEST_RUN'] = folder;
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  return () => {
    for (const service of ['s3', 'swift']) {
      const at = join(folder, service);
      if (existsSync(at)) execFileSync(join(root, 'infra', 'dev', 'stop.sh'), [at]);
    }
    rmSync(folder, { recursive: true, force: true });
  };
}
