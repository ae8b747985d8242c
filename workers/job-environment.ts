/** What a job sees of its worker's environment: enough to find programs, and no credential. */
const inherited = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LD_LIBRARY_PATH', 'CUDA_VISIBLE_DEVICES'] as const;

/** `more`: what a pool lets through besides. */
export function jobEnvironment(env: NodeJS.ProcessEnv, more: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    [...inherited, ...more].flatMap((name) => {
      const value = env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** A secret's value is the variable of its name in the worker's environment; empty is absent. */
export function secretReader(env: NodeJS.ProcessEnv): (name: string) => string | undefined {
  return (name) => env[name] || undefined;
}
