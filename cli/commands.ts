import type { Command } from './command.ts';

export interface CommandEntry {
  name: string;
  summary: string;
  usage: string;
  /** What follows the usage in help: options, then examples. */
  details: string;
  load: () => Promise<{ command: Command }>;
}

/** Every command with its help; its code is loaded when it is called. */
export const commandEntries: readonly CommandEntry[] = [
  {
    name: 'plan',
    summary: 'what a run would do, why, and for how much; nothing is started',
    usage:
      'fretsaw plan <spec> [--profile <name>] [--param <name>=<value>]... [--against <revision>] [--price <per GPU hour>]',
    details: `Options:
  --profile <name>      use the spec's profile of this name
  --param name=value    set a param of the spec; may be given several times
  --against <revision>  also say what changed since this git revision
  --price <number>      what a GPU costs for an hour; adds the price of each stage and of all

hit: the store has it. run: it will be made. maybe: it will be made unless what it reads comes out as before.
A cost with ~ is an estimate; one without comes from records of earlier runs. FLOPs and the memory a GPU needs
come from the model's geometry and the stage's layout: bf16 weights sharded over its GPUs, context_parallel and
recompute_activations as it says, traffic between GPUs in the time; answers by the roofline as fitted to vLLM. A star
means more than an H100 has, ? that the model does not fit there. \`fretsaw costs layout\` shows other layouts.

Example:
  fretsaw plan specs/gpt-oss-puzzle-88b.yaml --against main
`,
    load: () => import('./plan.ts'),
  },
  {
    name: 'run',
    summary: 'make what a spec asks for; what is in the store already is not made again',
    usage:
      'fretsaw run <spec> [--profile <name>] [--param <name>=<value>]... [--recompute <stage> --reason <text>]',
    details: `Options:
  --profile <name>      use the spec's profile of this name
  --param name=value    set a param of the spec; may be given several times
  --recompute <stage>   make this stage again although the store has it; needs --reason
  --reason <text>       why, kept in the new record
  --max-in-flight <n>   stages at work or waited for at once (64)
  --wait-for-pools      start although nobody serves a pool that a stage asks for

Ctrl-C stops cleanly: jobs take a last snapshot. The same command goes on from there.

Example:
  fretsaw run specs/gpt-oss-puzzle-88b.yaml --profile rehearsal
`,
    load: () => import('./run.ts'),
  },
  {
    name: 'status',
    summary: 'runs and their states, newest first',
    usage:
      'fretsaw status [--spec <name>] [--state <state>] [--commit <hash>] [--owner <name>] [--pool <name>] [--kind <kind>] [--limit <n>] [--before <run>]',
    details: `Options:
  --spec <name>     runs of this spec
  --state <state>   running, paused, approval (a person is asked for), interrupted, done, failed, cancelled
  --commit <hash>   started with this commit checked out; its beginning is enough
  --owner <name>    started by this user (FRETSAW_OWNER names another than the system does)
  --pool <name>     with a stage in this pool
  --kind <kind>     with a stage of this kind
  --limit <n>       at most so many (20)
  --before <run>    only older ones: the next page

interrupted: it has not ended and nothing works on it; the command that started it goes on from there.

Example:
  fretsaw status --state failed --kind distill --limit 5
`,
    load: () => import('./status.ts'),
  },
  {
    name: 'top',
    summary: 'everything that is at work: runs, pools, stages with step, rate, loss and time left',
    usage: 'fretsaw top [--every <seconds>]',
    details: `On a terminal it is redrawn until Ctrl-C; in a pipe, or with --json, it is one look.

Options:
  --every <seconds>  between two looks (2)

Example:
  fretsaw top --json | jq '.pools'
`,
    load: () => import('./top.ts'),
  },
  {
    name: 'show',
    summary: 'one run: stages, attempts, outputs, and why what failed has failed',
    usage: 'fretsaw show <run>',
    details: 'A run may be named by the end of its id, or as `last`.\n\nExample:\n  fretsaw show last\n',
    load: () => import('./show.ts'),
  },
  {
    name: 'logs',
    summary: 'what the jobs of a stage wrote',
    usage: 'fretsaw logs <run> <stage> [-f] [--attempt <n>]',
    details:
      'Options:\n  -f, --follow     go on until the stage has ended\n  --attempt <n>    another attempt than the newest\n\nExample:\n  fretsaw logs last distill -f\n',
    load: () => import('./logs.ts'),
  },
  {
    name: 'cancel',
    summary: 'stop a run, or one stage of it; a stage that another run wants goes on',
    usage: 'fretsaw cancel <run> [<stage>] [--reason <text>] [--by <name>]',
    details: 'Example:\n  fretsaw cancel last --reason "wrong data"\n',
    load: () => import('./cancel.ts'),
  },
  {
    name: 'retry',
    summary: 'run an earlier run again, or one stage of it with something changed',
    usage:
      'fretsaw retry <run> [<stage>] [--with <name>=<value>]... [--resource <name>=<value>]... [--from-snapshot <step>] [--reason <text>]',
    details: `Options:
  --with name=value      ask for something else: a new key, which continues from the old one's newest snapshot
  --resource name=value  another number of gpus, cpus, a smaller micro_batch: the same key
  --from-snapshot <step> go on from this snapshot instead of the newest
  --reason <text>        kept with the run

Example:
  fretsaw retry last distill --with learning_rate=1e-4 --reason "the loss was NaN"
`,
    load: () => import('./retry.ts'),
  },
  {
    name: 'fork',
    summary: 'write a new spec that begins as a run: what stays the same is taken from the store',
    usage: 'fretsaw fork <run> <new spec>',
    details: 'Example:\n  fretsaw fork last specs/smaller.yaml\n',
    load: () => import('./fork.ts'),
  },
  {
    name: 'accept',
    summary: "let an old record's outputs count for a stage that now has another key",
    usage:
      'fretsaw accept <old record> --spec <spec> --for <stage> --reason <text> [--profile <name>] [--by <name>]',
    details:
      'A record is named by the first digits of its key; explain tells the nearest. Who and why are kept in the new record.\n\nExample:\n  fretsaw accept 41b06a --spec specs/gpt-oss-puzzle-88b.yaml --for prompts --reason "only a comment changed"\n',
    load: () => import('./accept.ts'),
  },
  {
    name: 'pause',
    summary: 'stop working on a run or a stage for now; training takes a snapshot first',
    usage: 'fretsaw pause <run> [<stage>] [--reason <text>] [--by <name>]',
    details: 'A stage that another run wants goes on.\n\nExample:\n  fretsaw pause last distill\n',
    load: () => import('./pause.ts'),
  },
  {
    name: 'resume',
    summary: 'go on with what was paused, from its snapshots',
    usage: 'fretsaw resume <run> [<stage>] [--reason <text>] [--by <name>]',
    details: 'Example:\n  fretsaw resume last\n',
    load: () => import('./resume.ts'),
  },
  {
    name: 'approve',
    summary: 'agree that a stage with approve: is run',
    usage: 'fretsaw approve <run> <stage> --reason <text> [--by <name>]',
    details: 'Example:\n  fretsaw approve last distill --reason "the selection looks right"\n',
    load: () => import('./approve.ts'),
  },
  {
    name: 'override',
    summary: 'let a gate that failed pass all the same, by name and with a reason, and go on',
    usage: 'fretsaw override <run> <gate> --reason <text> [--by <name>]',
    details: `The gate's verdict still says what failed, by how much and how surely; who let it pass and why stand in it, in the
gate's key and so in the lineage of all that comes of it. Another run of the spec is stopped by the gate again, unless
the spec itself says \`override\`.

Example:
  fretsaw override last gate --reason "recall is covered by the long-context suite"
`,
    load: () => import('./override.ts'),
  },
  {
    name: 'worker',
    summary: 'serve a pool, or the control queue of a fleet',
    usage: 'fretsaw worker --pool <name> [--check] | --control | --promote',
    details: `Options:
  --pool <name>  infra/pools/<name>.yaml (FRETSAW_POOLS names another folder), a path, or FRETSAW_POOL with the text itself
  --check        print the pool as it is understood, and start nothing
  --control      serve the control queue of a fleet (FRETSAW_CONTROL=shared): decide, look up and write records
  --promote      new runs of the fleet start on this build from now on

Ctrl-C or SIGTERM stops it; jobs go on, and the next worker of the pool finds them.

Example:
  fretsaw worker --pool h100x8
`,
    load: () => import('./worker.ts'),
  },
  {
    name: 'lineage',
    summary: 'what an artifact was made of, what was made of it, how two differ',
    usage: 'fretsaw lineage <artifact> | lineage impact <artifact> | lineage diff <a> <b>',
    details:
      'An artifact is a digest, the beginning of one, or <stage>.<output>.\n\nExample:\n  fretsaw lineage distill.checkpoint\n',
    load: () => import('./lineage.ts'),
  },
  {
    name: 'artifact',
    summary: 'list artifacts, print a file, a tensor or the record of one, or copy one out of the store',
    usage:
      'fretsaw artifact ls [<artifact>] | cat <artifact> <path> | tensor <artifact> <name> [--expert <e>] | record <artifact> | export <artifact> <folder> [--config-form puzzle|per-layer]',
    details:
      'record prints the DSSE envelope that says how it was made; an import takes it as `record: <file>`.\n\nExample:\n  fretsaw artifact export average.checkpoint ./child\n  fretsaw artifact record average.checkpoint > child.record.json\n',
    load: () => import('./artifact.ts'),
  },
  {
    name: 'explain',
    summary: 'why a stage would run: the fields that differ from its nearest record',
    usage: 'fretsaw explain <spec> <stage> [--profile <name>] [--param <name>=<value>]...',
    details: 'Example:\n  fretsaw explain specs/gpt-oss-puzzle-88b.yaml distill --profile rehearsal\n',
    load: () => import('./explain.ts'),
  },
  {
    name: 'certify',
    summary: "check a selection's proof again from its own numbers, with no solver",
    usage: 'fretsaw certify <proof>',
    details: 'Example:\n  fretsaw certify select.proof\n',
    load: () => import('./certify.ts'),
  },
  {
    name: 'costs',
    summary:
      'what other layouts of a stage would cost; the cost model fitted to throughputs that you measured',
    usage:
      'fretsaw costs layout <spec> <stage> [--gpus <n,..>] [--shard <n,..>] [--context <n,..>] [--micro-batch <n,..>] [--recompute <0,1>] [--tensor-parallel <n,..>]\n       fretsaw costs fit <points.csv>',
    details: `layout: memory a GPU, GPU hours and wall time of a stage for every combination of what is given; what is not, as
the spec has it. Hours are of H100s. Options beside --profile, --param and --price, which are those of plan:
  --gpus <n,..>             GPUs in all
  --shard <n,..>            GPUs that hold one copy of weights and moments together (fully_shard); more hold copies.
                            Fretsaw's own training shards over all
  --context <n,..>          GPUs that share a sequence (context_parallel)
  --micro-batch <n,..>      sequences at once on a GPU, or on those that share one
  --recompute <0,1>         recompute_activations
  --tensor-parallel <n,..>  GPUs of a server that writes answers

fit: columns are name, config (a config.json beside the file), hardware, gpus, input_tokens, output_tokens,
kv (fp8 or bf16), tokens_per_second; if wanted tensor_parallel, expert_parallel, concurrency, uncertainty.
Prints the engine for the setting \`engine\` of a select stage, and how far off held-out points are.

Examples:
  fretsaw costs layout specs/gpt-oss-puzzle-88b.yaml distill --shard 8,64 --context 2,4,8
  fretsaw costs fit points.csv
`,
    load: () => import('./costs.ts'),
  },
  {
    name: 'serve',
    summary: 'a checkpoint behind an OpenAI-compatible server, to chat with or to evaluate',
    usage: 'fretsaw serve <checkpoint> [--port <n>] [--name <model>] [--threads <n>] [--batch <n>]',
    details: `A checkpoint or an exported model: an artifact, or a folder. A checkpoint is exported to ONNX first, once.

Options:
  --host <address>        where to listen (127.0.0.1)
  --port <n>              8000; 0 takes a free one
  --name <model>          what clients call the model; the argument when absent
  --threads <n>           of ONNX Runtime (1)
  --provider <cpu|cuda>   what runs the graph (cpu)
  --batch <n>             answers in progress at once (16)
  --queue <n>             requests that may wait; a further one is told 429 (256)
  --max-new-tokens <n>    cap of an answer whose request names none (512)

Example:
  fretsaw serve fp8.checkpoint --port 8000
`,
    load: () => import('./serve.ts'),
  },
  {
    name: 'verify',
    summary: "prove from files alone that a child's experts are its parent's, byte for byte",
    usage: 'fretsaw verify experts <child> --parent <parent> [--kept <map>]',
    details: `Child, parent and map are folders or artifacts. Without a map it is found; the first expert that
differs is named, and the exit code is 1.

Example:
  fretsaw verify experts child.checkpoint --parent specs/rehearsal/parent
`,
    load: () => import('./verify.ts'),
  },
  {
    name: 'pin',
    summary: "write the digests of a spec's inputs into the spec",
    usage: 'fretsaw pin <spec> [<input>...] [--dry-run]',
    details:
      'Comments and layout of the file stay as they are.\n\nExample:\n  fretsaw pin specs/gpt-oss-puzzle-88b.yaml\n',
    load: () => import('./pin.ts'),
  },
  {
    name: 'schema',
    summary: 'the JSON Schema of a spec or of a pool, for editors',
    usage: 'fretsaw schema [pipeline | pool]',
    details: 'Example:\n  fretsaw schema pool > pool.v1.json\n',
    load: () => import('./schema.ts'),
  },
  {
    name: 'store',
    summary: 'look after the store itself',
    usage: 'fretsaw store <verb> ...; fretsaw store lists the verbs',
    details: 'Example:\n  fretsaw store where\n',
    load: () => import('./store.ts'),
  },
  {
    name: 'doctor',
    summary: 'what is installed, and what answers',
    usage: 'fretsaw doctor',
    details: 'Example:\n  fretsaw doctor --json\n',
    load: () => import('./doctor.ts'),
  },
];

export function overview(): string {
  const width = Math.max(...commandEntries.map(({ name }) => name.length));
  const lines = commandEntries.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `fretsaw makes mixture-of-experts models cheaper to serve, as a durable pipeline.

Usage: fretsaw <command> [arguments] [--json]

${lines.join('\n')}

--json prints one JSON document. --store <place> (or FRETSAW_STORE) names another store than the one in
.fretsaw: a folder or s3://bucket/prefix. fretsaw help <command> tells more.

Example:
  fretsaw run specs/gpt-oss-puzzle-88b.yaml --profile rehearsal
`;
}

export function helpOf(name: string): string {
  const entry = commandEntries.find((command) => command.name === name);
  if (entry === undefined) return overview();
  return `fretsaw ${entry.name}: ${entry.summary}\n\nUsage: ${entry.usage}\n\n${entry.details}`;
}
