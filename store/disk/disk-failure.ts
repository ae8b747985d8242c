import { Failure, type FailureCode } from '../../core/errors.ts';

const causes: Readonly<Record<string, { code: FailureCode; retryable: boolean; hint: string }>> = {
  ENOSPC: { code: 'DISK_FULL', retryable: false, hint: 'the disk is full' },
  EDQUOT: { code: 'DISK_FULL', retryable: false, hint: 'the disk quota is used up' },
  EROFS: { code: 'STORE_UNAVAILABLE', retryable: true, hint: 'the disk is read-only' },
  EACCES: { code: 'STORE_UNAVAILABLE', retryable: false, hint: 'no permission' },
  EPERM: { code: 'STORE_UNAVAILABLE', retryable: false, hint: 'no permission' },
  ENOTDIR: { code: 'UNSAFE_PATH', retryable: false, hint: 'a part of the path is a file' },
  EISDIR: { code: 'UNSAFE_PATH', retryable: false, hint: 'the path is a folder' },
  ELOOP: { code: 'UNSAFE_PATH', retryable: false, hint: 'the path is a symbolic link' },
  ENAMETOOLONG: { code: 'UNSAFE_PATH', retryable: false, hint: 'the name is too long' },
  ENOENT: { code: 'NOT_FOUND', retryable: false, hint: 'there is no such file' },
  EMFILE: { code: 'STORE_UNAVAILABLE', retryable: true, hint: 'too many open files (see ulimit -n)' },
  ENFILE: { code: 'STORE_UNAVAILABLE', retryable: true, hint: 'too many open files on this host' },
  EIO: { code: 'STORE_UNAVAILABLE', retryable: true, hint: 'the disk failed' },
  ESTALE: { code: 'STORE_UNAVAILABLE', retryable: true, hint: 'the network file system lost the file' },
};

export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** What the operating system said, as one of our failures; what is not from it comes back unchanged. */
export function diskFailure(error: unknown, doing: string): unknown {
  const cause = causes[errnoOf(error) ?? ''];
  if (cause === undefined || error instanceof Failure) return error;
  return new Failure(cause.code, `${doing}: ${cause.hint}`, { retryable: cause.retryable, cause: error });
}
