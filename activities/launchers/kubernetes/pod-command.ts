import type { JobFolder } from '../../job-folder.ts';
import type { JobCommand } from '../launcher.ts';
import type { Shape } from '../shape.ts';

/**
 * The first process of a container. A signal goes to it alone, so it passes SIGTERM on and waits again: a wait ends early when a signal
 * comes. What the job writes goes into the job folder; the first pod notes the exit code in one write.
 */
const wrapper = `exec >> "$1" 2>&1; note=$2; touch "$3"; shift 3
"$@" & child=$!
trap 'kill -TERM "$child" 2> /dev/null' TERM INT
code=0; wait "$child" || code=$?
while kill -0 "$child" 2> /dev/null; do code=0; wait "$child" || code=$?; done
if [ "\${JOB_COMPLETION_INDEX:-0}" = 0 ]; then printf '%s\\n' "$code" > "$note"; fi
exit "$code"`;

const port = '29500';

export interface PodCommandOptions {
  shape: Shape;
  python: string;
  /** Name of the first pod, as the others reach it. */
  head: string;
}

/** The container's command. Kubernetes puts the pod's number in place of $(JOB_COMPLETION_INDEX). */
export function podCommand(folder: JobFolder, command: JobCommand, options: PodCommandOptions): string[] {
  const argv = command.ranks > 1 ? torchrun(folder, options) : [...command.argv].map(literal);
  return ['/bin/sh', '-c', literal(wrapper), 'fretsaw-job', folder.log, folder.exit, folder.began, ...argv];
}

/** @see https://docs.pytorch.org/docs/stable/elastic/run.html */
function torchrun(folder: JobFolder, { shape, python, head }: PodCommandOptions): string[] {
  const run = [
    ...[python, '-m', 'torch.distributed.run', '--max-restarts', '0'],
    ...['--nproc-per-node', String(shape.ranksPerNode), '--redirects', '3'],
  ];
  const engine = ['-m', 'fretsaw_engine', folder.job];
  if (shape.nodes === 1) return [...run, '--standalone', '--log-dir', folder.ranks, ...engine];
  return [
    ...run,
    ...['--nnodes', String(shape.nodes), '--node-rank', '$(JOB_COMPLETION_INDEX)'],
    ...['--master-addr', head, '--master-port', port],
    ...['--log-dir', `${folder.ranks}/node$(JOB_COMPLETION_INDEX)`, ...engine],
  ];
}

/** `$(NAME)` in a command is a reference to Kubernetes; `$$(NAME)` is the text. */
function literal(word: string): string {
  return word.replaceAll('$(', '$$$$(');
}
