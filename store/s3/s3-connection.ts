import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../core/errors.ts';
import { createDirectReads } from './direct-reads.ts';
import { roleCredentials } from './role-credentials.ts';
import { faultOf, isAbsent, s3Failure, type S3Fault } from './s3-failure.ts';
import { nameOfS3, type S3Location } from './s3-location.ts';

export type Sdk = typeof import('@aws-sdk/client-s3');

/** How patient a connection is. Pauses double from `firstPauseMs` and are drawn evenly from 0 to that. */
export interface Patience {
  attempts: number;
  firstPauseMs: number;
  longestPauseMs: number;
  /** A connection on which nothing moves for this long is given up. */
  stallMs: number;
}

export const usualPatience: Patience = {
  attempts: 7,
  firstPauseMs: 200,
  longestPauseMs: 20_000,
  stallMs: 20_000,
};

export interface ConnectionOptions {
  patience?: Patience;
  /** Instead of the SDK's usual chain. */
  credentials?: NonNullable<S3ClientConfig['credentials']>;
  /** For tests: how far this host's clock is from the true time. */
  clockOffsetMs?: number;
}

export interface Call {
  sdk: Sdk;
  client: S3Client;
  /** Whether an earlier try may have done the work although its answer never came. */
  isRepeat: boolean;
}

/** Requests of one store, each tried again as often as it makes sense. */
export interface S3Connection {
  readonly place: S3Location;
  key(name: string): string;
  /** The name of a key below the prefix. */
  nameOf(key: string): string;
  /** Throws Failure; an answer that there is no such object is undefined. */
  call<T>(doing: string, attempt: (call: Call) => Promise<T>): Promise<T | undefined>;
  /** Whether the bytes of a request are to be signed when nobody knows their sha256 yet. */
  signsPayload(): boolean;
}

/** Sockets for bulk and for look-ups beside it. */
const sockets = 96;
const connectMs = 5000;

export function connectS3(place: S3Location, options: ConnectionOptions = {}): S3Connection {
  const patience = options.patience ?? usualPatience;
  const prefix = place.prefix === '' ? '' : `${place.prefix}/`;
  const directReads = createDirectReads(sockets, { connectMs, stallMs: patience.stallMs });
  let opened: Promise<{ sdk: Sdk; client: S3Client }> | undefined;

  async function open(): Promise<{ sdk: Sdk; client: S3Client }> {
    const sdk = await import('@aws-sdk/client-s3');
    const client = new sdk.S3Client(await clientConfig(place, { ...options, patience }));
    client.config.requestHandler = directReads.over(client.config.requestHandler);
    return { sdk, client };
  }

  async function attemptOnce<T>(
    attempt: (call: Call) => Promise<T>,
    isRepeat: boolean,
  ): Promise<{ value: T | undefined } | { fault: S3Fault; error: unknown }> {
    opened ??= open();
    const used = opened;
    try {
      return { value: await attempt({ ...(await used), isRepeat }) };
    } catch (error) {
      if (error instanceof Failure) throw error;
      const fault = faultOf(error);
      if (isAbsent(fault)) return { value: undefined };
      // A new client asks the chain of providers again.
      if (fault.again === 'credentials' && opened === used) opened = undefined;
      return { fault, error };
    }
  }

  return {
    place,
    key: (name) => `${prefix}${name}`,
    nameOf: (key) => key.slice(prefix.length),
    signsPayload: () =>
      place.payload === undefined
        ? place.endpoint?.startsWith('http://') === true
        : place.payload === 'signed',
    async call(doing, attempt) {
      for (let tries = 1; ; tries++) {
        const ended = await attemptOnce(attempt, tries > 1);
        if ('value' in ended) return ended.value;
        const { fault, error } = ended;
        if (fault.again === 'no' || tries >= patience.attempts)
          throw s3Failure(fault, `${nameOfS3(place)}: ${doing}${tries > 1 ? `, ${tries} tries` : ''}`, error);
        await sleep(pauseMs(patience, fault, tries));
      }
    },
  };
}

/** Full jitter, so that many clients that failed together do not come back together. */
function pauseMs({ firstPauseMs, longestPauseMs }: Patience, fault: S3Fault, tries: number): number {
  const longest = Math.min(
    longestPauseMs,
    firstPauseMs * 2 ** (tries - 1) * (fault.again === 'backoff' ? 4 : 1),
  );
  return Math.max(Math.min(fault.retryAfterMs ?? 0, longestPauseMs), Math.random() * longest);
}

async function clientConfig(
  place: S3Location,
  { patience, credentials, clockOffsetMs }: ConnectionOptions & { patience: Patience },
): Promise<S3ClientConfig> {
  const region = place.region ?? (place.endpoint === undefined ? undefined : 'us-east-1');
  const signed = place.role === undefined ? credentials : await roleCredentials(place, credentials);
  return {
    maxAttempts: 1, // tries are counted in one place, above
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: connectMs,
      socketTimeout: patience.stallMs,
      httpAgent: { keepAlive: true, maxSockets: sockets },
      httpsAgent: { keepAlive: true, maxSockets: sockets },
    },
    ...(region === undefined ? {} : { region }),
    ...(place.endpoint === undefined ? {} : { endpoint: place.endpoint }),
    forcePathStyle: place.isPathStyle ?? place.endpoint !== undefined,
    ...(signed === undefined ? {} : { credentials: signed }),
    ...(clockOffsetMs === undefined ? {} : { systemClockOffset: clockOffsetMs }),
  };
}
