import { poolSchema } from '../compiler/pool-schema.ts';
import { specSchema } from '../compiler/spec-schema.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';

/** Prints the JSON Schema of a spec or of a pool's file; specs/schema keeps both, for editors. */
export const command: Command = {
  async run(invocation) {
    const [of = 'pipeline', ...more] = invocation.args;
    if (more.length > 0 || (of !== 'pipeline' && of !== 'pool'))
      throw new UsageError('expected pipeline or pool');
    return schema(invocation, of);
  },
};

export function schema({ terminal }: Pick<Invocation, 'terminal'>, of: 'pipeline' | 'pool'): number {
  terminal.out(schemaText(of));
  return exitCodes.ok;
}

export function schemaText(of: 'pipeline' | 'pool' = 'pipeline'): string {
  return `${JSON.stringify(of === 'pool' ? poolSchema() : specSchema(), null, 1)}\n`;
}
