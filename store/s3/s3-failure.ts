import { Failure, type FailureCode } from '../../core/errors.ts';

/** What came back from a request that did not succeed, as far as it matters to what is done next. */
export interface S3Fault {
  /** The service's own code (`SlowDown`), or the system's (`ECONNRESET`). */
  code: string;
  status: number | undefined;
  message: string;
  /** `backoff`: the service asks for fewer requests. `credentials`: with new ones it may work. */
  again: 'no' | 'soon' | 'backoff' | 'credentials';
  retryAfterMs: number | undefined;
}

/** Nothing that a second try would change, with what a person can do about it. */
const lasting: Readonly<Record<string, { code: FailureCode; hint: string }>> = {
  NoSuchBucket: { code: 'STORE_UNAVAILABLE', hint: 'there is no such bucket (any more)' },
  AccessDenied: { code: 'STORE_UNAVAILABLE', hint: 'these credentials have no permission for this' },
  AllAccessDisabled: { code: 'STORE_UNAVAILABLE', hint: 'the account or bucket is disabled' },
  AccountProblem: { code: 'STORE_UNAVAILABLE', hint: 'the account has a problem' },
  InvalidAccessKeyId: { code: 'STORE_UNAVAILABLE', hint: 'the service does not know this access key' },
  SignatureDoesNotMatch: { code: 'STORE_UNAVAILABLE', hint: 'the secret key is not that of the access key' },
  CredentialsProviderError: {
    code: 'STORE_UNAVAILABLE',
    hint: 'no credentials where the AWS SDK looks for them (environment, ~/.aws, web identity, instance)',
  },
  PermanentRedirect: { code: 'STORE_UNAVAILABLE', hint: 'the bucket is in another region' },
  AuthorizationHeaderMalformed: { code: 'STORE_UNAVAILABLE', hint: 'the bucket is in another region' },
  IllegalLocationConstraintException: { code: 'STORE_UNAVAILABLE', hint: 'the bucket is in another region' },
  QuotaExceeded: { code: 'DISK_FULL', hint: 'the quota is used up' },
  EntityTooLarge: { code: 'BAD_INPUT', hint: 'the service takes no object of this size' },
  KeyTooLongError: { code: 'UNSAFE_PATH', hint: 'the name is too long' },
};

const credentialCodes: ReadonlySet<string> = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'TokenRefreshRequired',
  'RequestExpired',
]);
const slowCodes: ReadonlySet<string> = new Set([
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TooManyRequests',
  'RequestLimitExceeded',
  'ServiceUnavailable',
]);
/** The first answer tells the SDK the service's time; the second request is signed with it. */
const soonCodes: ReadonlySet<string> = new Set([
  'RequestTimeTooSkewed',
  'RequestTimeout',
  'InternalError',
  'OperationAborted',
  'ConditionalRequestConflict',
  'BadDigest',
  'IncompleteBody',
  'XAmzContentSHA256Mismatch',
  'InvalidDigest',
]);

export function faultOf(error: unknown): S3Fault {
  const { name, message, code, status, headers } = partsOf(error);
  const said = name !== undefined && name !== 'Error' && name !== 'Unknown' ? name : (code ?? `${status}`);
  return {
    code: said,
    status,
    message: message ?? String(error),
    again: whetherAgain(said, code, status),
    retryAfterMs: retryAfterOf(headers?.['retry-after']),
  };
}

export function isAbsent(fault: S3Fault): boolean {
  return fault.code === 'NoSuchKey' || fault.code === 'NotFound' || fault.code === 'NoSuchUpload';
}

/** What to throw for a fault that is final: tried often enough, or not worth trying. */
export function s3Failure(fault: S3Fault, doing: string, error: unknown): Failure {
  const cause = slim(error);
  const known = lasting[fault.code] ?? (fault.status === 403 ? lasting['AccessDenied'] : undefined);
  const details = { s3: fault.code, ...(fault.status === undefined ? {} : { status: fault.status }) };
  if (known !== undefined) {
    const text = `${doing}: ${known.hint} (${fault.code}: ${fault.message}${regionOf(error)})`;
    return new Failure(known.code, text, { retryable: false, details, cause });
  }
  const isMissingRegion = fault.message.includes('Region is missing');
  return new Failure('STORE_UNAVAILABLE', `${doing}: ${fault.code}: ${fault.message}`, {
    retryable: fault.again !== 'no' && !isMissingRegion,
    details,
    cause,
  });
}

/** The SDK's errors carry request, response and sockets: megabytes in a log, and signed headers among them. */
function slim(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const slimmed = new Error(error.message);
  slimmed.name = error.name;
  if (error.stack !== undefined) slimmed.stack = error.stack;
  return slimmed;
}

function whetherAgain(said: string, code: string | undefined, status: number | undefined): S3Fault['again'] {
  if (credentialCodes.has(said)) return 'credentials';
  if (slowCodes.has(said) || status === 503 || status === 429) return 'backoff';
  if (soonCodes.has(said) || isServersOwn(status)) return 'soon';
  return status === undefined && isOfTheWire(said, code) ? 'soon' : 'no';
}

/** 501 says that it will never be otherwise. */
function isServersOwn(status: number | undefined): boolean {
  return status !== undefined && status >= 500 && status !== 501;
}

function isOfTheWire(said: string, code: string | undefined): boolean {
  if (said === 'TimeoutError' || said === 'AbortError' || said === 'SyntaxError') return true;
  return code !== undefined && /^(E[A-Z]+|UND_ERR|ERR_STREAM|ERR_SSL)/.test(code);
}

interface ErrorParts {
  name: string | undefined;
  message: string | undefined;
  code: string | undefined;
  status: number | undefined;
  headers: Readonly<Record<string, unknown>> | undefined;
}

function partsOf(error: unknown): ErrorParts {
  const of = (value: unknown, field: string): unknown =>
    typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined;
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const status = of(of(error, '$metadata'), 'httpStatusCode') ?? of(of(error, '$response'), 'statusCode');
  const headers = of(of(error, '$response'), 'headers');
  return {
    name: text(of(error, 'name')),
    message: text(of(error, 'message')),
    code: text(of(error, 'code')) ?? text(of(error, 'Code')),
    status: typeof status === 'number' ? status : undefined,
    headers: typeof headers === 'object' && headers !== null ? { ...headers } : undefined,
  };
}

function retryAfterOf(value: unknown): number | undefined {
  const seconds = typeof value === 'string' ? Number(value) : NaN;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}

function regionOf(cause: unknown): string {
  const region = partsOf(cause).headers?.['x-amz-bucket-region'];
  return typeof region === 'string' ? `; the bucket is in ${region}` : '';
}
