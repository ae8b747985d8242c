import { specSchema } from '../compiler/spec-schema.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';

/** Prints the JSON Schema of a spec; specs/schema/pipeline.v1.json is this, kept for editors. */
export const command: Command = {
  async run(invocation) {
    if (invocation.args.length > 0) throw new UsageError('schema takes no arguments');
    return schema(invocation);
  },
};

export function schema({ terminal }: Pick<Invocation, 'terminal'>): number {
  terminal.out(schemaText());
  return exitCodes.ok;
}

export function schemaText(): string {
  return `${JSON.stringify(specSchema(), null, 1)}\n`;
}
