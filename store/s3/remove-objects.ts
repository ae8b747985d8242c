import { isFailure } from '../../core/errors.ts';
import { inParallel } from '../in-parallel.ts';
import type { S3Connection } from './s3-connection.ts';

/** S3's limit for one request. */
const removedAtOnce = 1000;
const singlesAtOnce = 16;

/** A thousand names a request; what is not there is removed already. */
export async function removeObjects(connection: S3Connection, names: readonly string[]): Promise<void> {
  for (let from = 0; from < names.length; from += removedAtOnce) {
    const some = names.slice(from, from + removedAtOnce);
    try {
      await removeMany(connection, some);
    } catch (error) {
      // radosgw asks for permission to the whole bucket, whatever the policy allows below a prefix.
      if (!isFailure(error) || error.details['s3'] !== 'AccessDenied') throw error;
      await inParallel(some, singlesAtOnce, (name) => removeOne(connection, name));
    }
  }
}

export async function removeOne(connection: S3Connection, name: string): Promise<void> {
  await connection.call(`removing ${name}`, async ({ sdk, client }) => {
    await client.send(
      new sdk.DeleteObjectCommand({ Bucket: connection.place.bucket, Key: connection.key(name) }),
    );
  });
}

async function removeMany(connection: S3Connection, names: readonly string[]): Promise<void> {
  await connection.call(`removing ${names.length} objects`, async ({ sdk, client }) => {
    const { Errors } = await client.send(
      new sdk.DeleteObjectsCommand({
        Bucket: connection.place.bucket,
        Delete: { Quiet: true, Objects: names.map((name) => ({ Key: connection.key(name) })) },
      }),
    );
    const [first] = Errors ?? [];
    if (first !== undefined)
      throw Object.assign(new Error(`${first.Key ?? ''}: ${first.Message ?? ''}`), {
        name: first.Code ?? 'Unknown',
      });
  });
}
