import { homePaths } from '../workers/home.ts';
import { UsageError, type Invocation } from './command.ts';
import { StopSignals } from './stop-signals.ts';
import { workerSettings } from './temporal-client.ts';

/** `--control` serves the control queue of a fleet; `--promote` makes this build the one that its new runs start on. */
export async function controlFleet(
  choice: { control: boolean; promote: boolean },
  invocation: Invocation,
): Promise<void> {
  const { env, cwd, json, terminal } = invocation;
  const settings = workerSettings(invocation, homePaths(env, cwd));
  if (settings.isShared !== true) throw new UsageError('this is for a fleet: set FRETSAW_CONTROL=shared');
  const { promoteBuild, runControl } = await import('../workers/run-control.ts');
  if (choice.promote) {
    const build = await promoteBuild(settings, env);
    terminal.out(json ? `${JSON.stringify({ current: build })}\n` : `new runs start on build ${build}\n`);
    return;
  }
  const stopped = new StopSignals();
  try {
    await runControl({
      settings,
      env,
      signal: stopped.signal,
      onReady: (where) => {
        if (json) terminal.out(`${JSON.stringify({ control: 'serving', ...where })}\n`);
        else {
          const role = where.isCurrent ? 'new runs start here' : 'for runs that were started on it';
          terminal.err(
            `control: serving queue ${where.queue} of namespace ${where.namespace} as build ${where.buildId}: ${role}\n`,
          );
        }
      },
    });
  } finally {
    stopped.close();
  }
}
