import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { field, flag, integerFrom, isAbsent, parseJson, text, type Place } from '../costs/json-reader.ts';
import type { Answer } from '../report/evidence.ts';

/** The answers of every model whose results hold them. */
export async function readAllAnswers(
  results: Readonly<Record<string, string>>,
): Promise<Map<string, Answer[]>> {
  const found = new Map<string, Answer[]>();
  for (const [name, folder] of Object.entries(results)) {
    const path = join(folder, 'answers.jsonl');
    if (existsSync(path)) found.set(name, await readAnswers(path));
  }
  return found;
}

/** Line by line: a whole file of long answers is more than one text can hold. */
async function readAnswers(path: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  let number = 0;
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    number++;
    if (line !== '') answers.push(readAnswer(parseJson(line, `answers.jsonl:${number}`)));
  }
  return answers;
}

function readAnswer(place: Place): Answer {
  return {
    task: text(field(place, 'task')),
    effort: text(field(place, 'effort')),
    id: text(field(place, 'id')),
    isCorrect: flag(field(place, 'correct')),
    tokens: integerFrom(0)(field(place, 'tokens')),
    isCapped: flag(field(place, 'capped')),
    hasFinal: !isAbsent(field(place, 'final')) && field(place, 'final').value !== null,
  };
}
