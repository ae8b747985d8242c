import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { Failure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';
import { adapters, type Question } from './adapters.ts';
import { readRows } from './read-rows.ts';
import { generateRuler, rulerKinds, type RulerKind } from './ruler.ts';

/** A task as specs/tasks/*.yaml writes it. */
export interface Task {
  name: string;
  /** Counts up when its prompts, data or scorer change: results of unlike versions are not compared. */
  version: number;
  data:
    | { kind: 'file'; source: string | undefined; file: string; sha256: string; adapter: string | undefined }
    | { kind: 'ruler'; kinds: RulerKind[]; lengths: number[]; examples: number; seed: number };
  /** For rows without an adapter: `{field}` is the row's field. */
  prompt: string | undefined;
  instruction: string | undefined;
  scorer: unknown;
  samples: number | undefined;
  efforts: string[] | undefined;
  maxNewTokens: number | undefined;
  limit: number | undefined;
}

export interface TaskFolders {
  /** Of the task files. */
  definitions: string;
  /** Published data sets by name. */
  sources: Readonly<Record<string, string>>;
  countTokens: (text: string) => number;
}

/** Lines of examples.jsonl, and how many rows a task left out because its scorers cannot judge them. */
export interface MadeTask {
  task: string;
  lines: object[];
  rows: number;
  leftOut: number;
}

/** Every *.yaml of a folder, by name; two tasks of one name are BAD_INPUT. */
export async function readTaskFiles(folder: string): Promise<Task[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  if (names.length === 0) throw new Failure('BAD_INPUT', `${folder}: no task (*.yaml)`);
  const tasks = await Promise.all(
    names.map(async (name) => parseTask(await readFile(join(folder, name), 'utf8'), name)),
  );
  const twins = tasks.filter(({ name }, index) => tasks.findIndex((other) => other.name === name) !== index);
  if (twins.length > 0) throw new Failure('BAD_INPUT', `task ${twins[0]?.name ?? ''} stands there twice`);
  return tasks;
}

export function parseTask(text: string, where: string): Task {
  const fields = JsonFields.of(readYaml(text, where), where).only([
    ...['fretsaw', 'name', 'version', 'description', 'data', 'prompt', 'instruction', 'scorer'],
    ...['samples', 'efforts', 'max_new_tokens', 'limit'],
  ]);
  if (fields.text('fretsaw') !== 'task/v1')
    throw new Failure('BAD_INPUT', `${where}: fretsaw is not task/v1`);
  const data = readData(fields.record('data'), where);
  const hasAdapter = data.kind === 'ruler' || data.adapter !== undefined;
  if (!hasAdapter && (!fields.has('prompt') || !fields.has('scorer')))
    throw new Failure('BAD_INPUT', `${where}: without an adapter a task needs prompt and scorer`);
  const whole = (name: string): number | undefined =>
    fields.has(name) ? fields.integer(name, 1) : undefined;
  return {
    name: fields.text('name'),
    version: whole('version') ?? 1,
    data,
    prompt: fields.has('prompt') ? fields.text('prompt') : undefined,
    instruction: fields.has('instruction') ? fields.text('instruction') : undefined,
    scorer: fields.raw('scorer'),
    samples: whole('samples'),
    efforts: fields.has('efforts') ? fields.texts('efforts') : undefined,
    maxNewTokens: whole('max_new_tokens'),
    limit: whole('limit'),
  };
}

function readYaml(text: string, where: string): unknown {
  try {
    return parseYaml(text, { maxAliasCount: 0 });
  } catch (error) {
    throw new Failure('BAD_INPUT', `${where}: ${String(error)}`, { cause: error });
  }
}

function readData(fields: JsonFields, where: string): Task['data'] {
  if (fields.has('generator')) {
    if (fields.text('generator') !== 'ruler')
      throw new Failure('BAD_INPUT', `${where}: the known generator is ruler`);
    fields.only(['generator', 'kinds', 'lengths', 'examples', 'seed']);
    const kinds = fields.has('kinds') ? fields.texts('kinds') : [...rulerKinds];
    return {
      kind: 'ruler',
      kinds: kinds.map((kind) => parseKind(kind, where)),
      lengths: fields.integers('lengths'),
      examples: fields.integer('examples', 1),
      seed: fields.has('seed') ? fields.integer('seed', 0) : 1,
    };
  }
  fields.only(['source', 'file', 'sha256', 'adapter']);
  const adapter = fields.has('adapter') ? fields.text('adapter') : undefined;
  if (adapter !== undefined && !Object.hasOwn(adapters, adapter))
    throw new Failure(
      'BAD_INPUT',
      `${where}: unknown adapter ${adapter}; known: ${Object.keys(adapters).join(', ')}`,
    );
  const source = fields.has('source') ? fields.text('source') : undefined;
  return { kind: 'file', source, file: fields.text('file'), sha256: fields.text('sha256'), adapter };
}

function parseKind(text: string, where: string): RulerKind {
  const kind = rulerKinds.find((known) => known === text);
  if (kind === undefined)
    throw new Failure('BAD_INPUT', `${where}: unknown kind ${text}; known: ${rulerKinds.join(', ')}`);
  return kind;
}

/** Reads a task's data, whose digest must be the pinned one, and makes its questions. */
export async function makeTask(task: Task, folders: TaskFolders): Promise<MadeTask> {
  const { questions, rows, leftOut } = await questionsOf(task, folders);
  const seen = new Set<string>();
  for (const { id } of questions) {
    if (seen.has(id)) throw new Failure('BAD_INPUT', `task ${task.name}: id ${id} stands there twice`);
    seen.add(id);
  }
  const lines = questions.slice(0, task.limit).map(({ id, prompt, answer, scorer, suffix }) => ({
    id: `${task.name}/${id}`,
    task: suffix === '' ? task.name : `${task.name} ${suffix}`,
    task_version: task.version,
    messages: [{ role: 'user', content: prompt }],
    answer,
    scorer,
    ...(task.samples === undefined ? {} : { samples: task.samples }),
    ...(task.efforts === undefined ? {} : { efforts: task.efforts }),
    ...(task.maxNewTokens === undefined ? {} : { max_new_tokens: task.maxNewTokens }),
  }));
  if (lines.length === 0)
    throw new Failure('BAD_INPUT', `task ${task.name}: no question is left of ${rows} rows`);
  return { task: task.name, lines, rows, leftOut };
}

type Made = Question & { suffix: string };

async function questionsOf(
  task: Task,
  folders: TaskFolders,
): Promise<{ questions: Made[]; rows: number; leftOut: number }> {
  const { data } = task;
  if (data.kind === 'ruler') {
    const made = generateRuler({ ...data, countTokens: folders.countTokens });
    const questions = made.map((question) => ({
      ...question,
      suffix: `${question.kind} ${question.length}`,
    }));
    return { questions, rows: made.length, leftOut: 0 };
  }
  const folder = data.source === undefined ? folders.definitions : folders.sources[data.source];
  if (folder === undefined)
    throw new Failure('BAD_INPUT', `task ${task.name}: no source ${data.source ?? ''} among the inputs`);
  const path = join(folder, data.file);
  const found = await sha256Of(path);
  if (found !== data.sha256)
    throw new Failure(
      'DIGEST_MISMATCH',
      `task ${task.name}: ${data.file}: expected sha256 ${data.sha256}, found ${found}`,
    );
  const rows = await readRows(path);
  const adapter = data.adapter === undefined ? undefined : adapters[data.adapter];
  const byRow = rows.map((row, index) =>
    adapter === undefined
      ? [fromRow(task, row, index)]
      : adapter(row, { folder, instruction: task.instruction }),
  );
  const questions = byRow.flat().map((question) => ({ ...question, suffix: '' }));
  return { questions, rows: rows.length, leftOut: byRow.filter((made) => made.length === 0).length };
}

function fromRow(task: Task, row: JsonFields, index: number): Question {
  const prompt = (task.prompt ?? '').replace(/\{(\w+)\}/g, (_, name: string) => fieldText(row, name));
  const id = row.has('id') ? fieldText(row, 'id') : String(index);
  const scorer = typeof task.scorer === 'string' ? { kind: task.scorer } : (task.scorer as object);
  return { id, prompt, answer: fieldText(row, 'answer'), scorer };
}

function fieldText(row: JsonFields, name: string): string {
  const value = row.raw(name);
  return typeof value === 'number' ? String(value) : row.text(name);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(path)) hash.update(part as Buffer);
  } catch (error) {
    throw new Failure('BAD_INPUT', `${path}: cannot be read`, { cause: error });
  }
  return hash.digest('hex');
}
