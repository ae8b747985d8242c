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
    const s3 = join(folder, 's3');
    if (existsSync(s3)) execFileSync(join(root, 'infra', 'dev', 's3', 'stop.sh'), [s3]);
    rmSync(folder, { recursive: true, force: true });
  };
}
