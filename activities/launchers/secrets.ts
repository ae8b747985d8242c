import { Failure } from '../../core/errors.ts';

/** Value of a secret by its name; undefined when this worker has none of that name. */
export type SecretReader = (name: string) => string | undefined;

/** Variable -> value of the secret that it is to hold. */
export function resolveSecrets(
  secrets: Readonly<Record<string, string>>,
  read: SecretReader,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(secrets).map(([variable, name]) => {
      const value = read(name);
      if (value !== undefined) return [variable, value];
      throw new Failure('BAD_INPUT', `this worker has no secret ${name}: set it in its environment`);
    }),
  );
}
