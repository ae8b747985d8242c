import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { Failure } from '../../core/errors.ts';
import type { ObjectInfo, UnfinishedUpload } from '../object-backend.ts';
import type { S3Connection } from './s3-connection.ts';
import { abortUpload, ownUploads } from './upload-parts.ts';

export interface ListRequest {
  /** Of names, as it is: `blobs/` is the folder, `blobs/a` whatever begins so. */
  prefix: string;
  /** Only names after this one. */
  after?: string;
  /** Stop at slashes behind the prefix and tell what came before them. */
  isShallow?: boolean;
}

interface Page {
  objects: ObjectInfo[];
  /** With `isShallow`: prefixes of names, each with a slash at its end. */
  folders: string[];
  isLast: boolean;
}

/** At most 1,000 names a page, in the order of their UTF-8 bytes. */
export async function* listPages(connection: S3Connection, request: ListRequest): AsyncIterable<Page> {
  for (let token: string | undefined, isFirst = true; isFirst || token !== undefined; isFirst = false) {
    const page = await listPage(connection, request, token);
    token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    yield {
      isLast: token === undefined,
      objects: (page.Contents ?? []).flatMap(({ Key, Size, LastModified }) =>
        Key === undefined
          ? []
          : [
              {
                name: connection.nameOf(Key),
                sizeBytes: Size ?? 0,
                modifiedAtMs: LastModified?.getTime() ?? 0,
              },
            ],
      ),
      folders: (page.CommonPrefixes ?? []).flatMap(({ Prefix }) =>
        Prefix === undefined ? [] : [connection.nameOf(Prefix)],
      ),
    };
  }
}

async function listPage(
  connection: S3Connection,
  { prefix, after, isShallow = false }: ListRequest,
  token: string | undefined,
): Promise<ListObjectsV2CommandOutput> {
  const page = await connection.call(`listing ${prefix}`, ({ sdk, client }) =>
    client.send(
      new sdk.ListObjectsV2Command({
        Bucket: connection.place.bucket,
        Prefix: connection.key(prefix),
        ...(isShallow ? { Delimiter: '/' } : {}),
        ...(after === undefined ? {} : { StartAfter: connection.key(after) }),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      }),
    ),
  );
  if (page === undefined) throw new Failure('STORE_UNAVAILABLE', `listing ${prefix}: no answer`);
  return page;
}

/** Uploads below the prefix that nobody has ended, other than those of this process. */
export async function listUploads(connection: S3Connection): Promise<UnfinishedUpload[]> {
  const found: UnfinishedUpload[] = [];
  let marker: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    const from: { KeyMarker?: string; UploadIdMarker?: string } = marker;
    const page = await connection.call('listing unfinished uploads', ({ sdk, client }) =>
      client.send(
        new sdk.ListMultipartUploadsCommand({
          Bucket: connection.place.bucket,
          Prefix: connection.key(''),
          ...from,
        }),
      ),
    );
    for (const { Key, UploadId, Initiated } of page?.Uploads ?? []) {
      if (Key === undefined || UploadId === undefined || ownUploads.has(UploadId)) continue;
      const name = connection.nameOf(Key);
      const abort = (): Promise<void> => abortUpload(connection, name, UploadId);
      found.push({ name, startedAtMs: Initiated?.getTime() ?? 0, abort });
    }
    marker = page?.IsTruncated === true ? nextOf(page.NextKeyMarker, page.NextUploadIdMarker) : undefined;
  }
  return found;
}

function nextOf(
  key: string | undefined,
  upload: string | undefined,
): { KeyMarker?: string; UploadIdMarker?: string } {
  return {
    ...(key === undefined ? {} : { KeyMarker: key }),
    ...(upload === undefined ? {} : { UploadIdMarker: upload }),
  };
}
