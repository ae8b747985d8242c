/** How one try at a request went wrong, as far as it matters for what to do next. */
export type RequestFailureKind =
  /** No connection, or it broke before a byte came. */
  | 'unreachable'
  /** 429: come again later. */
  | 'busy'
  /** 5xx. */
  | 'server'
  /** The stream ended before the answer did. */
  | 'truncated'
  /** Not the JSON that the protocol has. */
  | 'malformed'
  /** Silent for too long, or writing for too long. */
  | 'timeout'
  /** Another 4xx about this one request. */
  | 'refused'
  /** 401, 403, 404: no request of this kind will be served. */
  | 'denied';

export class RequestFailure extends Error {
  readonly kind: RequestFailureKind;
  /** The server said when to come again, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    kind: RequestFailureKind,
    message: string,
    { retryAfterMs, cause }: { retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.name = 'RequestFailure';
    this.kind = kind;
    this.retryAfterMs = retryAfterMs;
  }

  get isWorthRetrying(): boolean {
    return this.kind !== 'refused' && this.kind !== 'denied';
  }
}

/** What a status other than 200 means. `retry-after` is in seconds, or a date. */
export function failureOfStatus(status: number, body: string, retryAfter: string | null): RequestFailure {
  const message = `status ${status}: ${body.slice(0, 300)}`;
  if (status === 429)
    return new RequestFailure('busy', message, { retryAfterMs: readRetryAfter(retryAfter) });
  if (status === 503)
    return new RequestFailure('server', message, { retryAfterMs: readRetryAfter(retryAfter) });
  if (status >= 500) return new RequestFailure('server', message);
  if (status === 401 || status === 403 || status === 404) return new RequestFailure('denied', message);
  if (status === 408) return new RequestFailure('timeout', message);
  return new RequestFailure('refused', message);
}

function readRetryAfter(text: string | null): number | undefined {
  if (text === null) return undefined;
  if (/^\d+(\.\d+)?$/.test(text.trim())) return Number(text) * 1000;
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - Date.now());
}
