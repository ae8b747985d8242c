import { Failure } from '../../core/errors.ts';

/** How objects are encrypted where they lie: by the service's own key, or by a key of KMS. */
export type Encryption = { kind: 'AES256' } | { kind: 'aws:kms'; keyId: string | undefined };

/**
 * A place in an S3 service: `s3://bucket/prefix?option=value&...`. Nothing secret is in it: credentials
 * come from where the AWS SDK looks for them (environment, ~/.aws, web identity, instance).
 */
export interface S3Location {
  bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  prefix: string;
  /** `endpoint`: another service than AWS, as `https://host:port`. AWS_ENDPOINT_URL_S3 says the same. */
  endpoint: string | undefined;
  region: string | undefined;
  /** `path-style`: the bucket in the path instead of the host's name. As a rule where an endpoint is named. */
  isPathStyle: boolean | undefined;
  encryption: Encryption | undefined;
  /** `role`: the ARN of a role to assume with those credentials. */
  role: string | undefined;
  /** `payload`: whether requests sign the bytes they carry. As a rule not over TLS, which protects them. */
  payload: 'signed' | 'unsigned' | undefined;
  /** `cache`: bytes of the local cache that are kept when nobody needs more. */
  cacheBytes: number;
  /** `allow=non-atomic-create`: write records to a server on which two may both be first. */
  allowsNonAtomicCreate: boolean;
}

const defaultCacheBytes = 200 * 2 ** 30;

type Options = Omit<S3Location, 'bucket' | 'prefix'>;

const readers: Readonly<Record<string, (value: string) => Partial<Options>>> = {
  endpoint: (value) => ({ endpoint: parseEndpoint(value) }),
  region: (value) => ({ region: value }),
  'path-style': (value) => ({ isPathStyle: oneOf('path-style', value, ['true', 'false']) === 'true' }),
  encryption: (value) => ({ encryption: parseEncryption(value) }),
  role: (value) => ({ role: value }),
  payload: (value) => ({ payload: oneOf('payload', value, ['signed', 'unsigned'] as const) }),
  cache: (value) => ({ cacheBytes: parseSize(value) }),
  allow: (value) => {
    oneOf('allow', value, ['non-atomic-create']);
    return { allowsNonAtomicCreate: true };
  },
};

/** BAD_INPUT when it is not such a place; an option that nobody knows is a mistake too. */
export function parseS3Location(text: string): S3Location {
  const [, bucket = '', path = '', query = ''] = /^s3:\/\/([^/?]*)([^?]*)(?:\?(.*))?$/.exec(text) ?? [];
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket))
    throw bad(`${text}: expected s3://bucket/prefix, found the bucket ${JSON.stringify(bucket)}`);
  const options: Options = {
    endpoint: undefined,
    region: undefined,
    isPathStyle: undefined,
    encryption: undefined,
    role: undefined,
    payload: undefined,
    cacheBytes: defaultCacheBytes,
    allowsNonAtomicCreate: false,
  };
  for (const [name, value] of new URLSearchParams(query)) {
    const read = readers[name];
    if (read === undefined)
      throw bad(`${text}: no option ${name}; there are ${Object.keys(readers).join(', ')}`);
    Object.assign(options, read(value));
  }
  return { bucket, prefix: path.replace(/^\/+|\/+$/g, ''), ...options };
}

export function nameOfS3({ bucket, prefix }: Pick<S3Location, 'bucket' | 'prefix'>): string {
  return `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
}

function parseEndpoint(value: string): string {
  if (!/^https?:\/\/[^/?#]+\/?$/.test(value))
    throw bad(`endpoint: expected https://host:port, found ${value}`);
  return value.replace(/\/$/, '');
}

/** `AES256`, `aws:kms` or `aws:kms/<key id or ARN>`. */
function parseEncryption(value: string): Encryption {
  if (value === 'AES256') return { kind: 'AES256' };
  const [, keyId] = /^aws:kms(?:\/(.+))?$/.exec(value) ?? [undefined, null];
  if (keyId === null) throw bad(`encryption: expected AES256, aws:kms or aws:kms/<key>, found ${value}`);
  return { kind: 'aws:kms', keyId };
}

/** A number of bytes, or of KiB, MiB, GiB, TiB. */
function parseSize(value: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?(|[KMGT]iB)$/.exec(value) ?? [];
  if (number === '') throw bad(`cache: expected a size such as 50GiB, found ${value}`);
  return Math.floor(Number(number) * 1024 ** ['', 'KiB', 'MiB', 'GiB', 'TiB'].indexOf(unit));
}

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw bad(`${option}: expected ${allowed.join(' or ')}, found ${value}`);
  return found;
}

function bad(message: string): Failure {
  return new Failure('BAD_INPUT', message);
}
