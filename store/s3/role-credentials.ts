import type { S3ClientConfig } from '@aws-sdk/client-s3';
import type { S3Location } from './s3-location.ts';

type Credentials = NonNullable<S3ClientConfig['credentials']>;

/** Credentials of the role that a store names, renewed before they end; asked for with those of the usual chain. */
export async function roleCredentials(place: S3Location, own: Credentials | undefined): Promise<Credentials> {
  const { fromTemporaryCredentials } = await import('@aws-sdk/credential-providers');
  return fromTemporaryCredentials({
    params: { RoleArn: place.role ?? '', RoleSessionName: 'fretsaw' },
    ...(own === undefined ? {} : { masterCredentials: own }),
    ...(place.region === undefined ? {} : { clientConfig: { region: place.region } }),
  });
}
