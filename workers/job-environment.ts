/** What a job sees of its worker's environment: enough to find programs, and no credential. */
const inherited = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LD_LIBRARY_PATH', 'CUDA_VISIBLE_DEVICES'] as const;

export function jobEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    inherited.flatMap((name) => {
      const value = env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** A secret's value is the variable of its name in the worker's environment; empty is absent. */
export function secretReader(env: NodeJS.ProcessEnv): (name: string) => string | undefined {
  return (name) => env[name] || undefined;
}
