/** Bytes that are to get a name: in memory, or a draft that was streamed because its name is its hash. */
export interface NewObject {
  name: string;
  content: Uint8Array | Draft;
  /** Hex, of the content, where it is known: a place that can have it checked on arrival does. */
  sha256?: string;
}

/** Bytes on their way in. They have no name and are seen by nobody until `createMany` publishes them. */
export interface Draft {
  readonly sizeBytes: number;
  write(chunk: Uint8Array): Promise<void>;
  /** At a place of its own, so that parts may come in any order. */
  writeAt(chunk: Uint8Array, position: number): void;
  /** Gives the space back; harmless after it was published. */
  discard(): Promise<void>;
}

/** Bytes `start` to `end`, without `end`. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface ObjectSize {
  sizeBytes: number;
}

export interface ObjectInfo extends ObjectSize {
  name: string;
  modifiedAtMs: number;
}

/** An upload that has begun and not ended: it is paid for, and no object. */
export interface UnfinishedUpload {
  /** What it was to become, where that is known. */
  name: string;
  startedAtMs: number;
  /** Gives its space back; harmless when it has ended in the meantime. */
  abort(): Promise<void>;
}

/**
 * What the store needs of a place that keeps bytes under names (a disk, S3). There is no overwrite
 * and no rename here. Names are slash-separated and were checked by object-names.ts. Whatever these
 * promises have resolved survives the loss of power.
 */
export interface ObjectBackend {
  /** For people and logs: `file:///...` or `s3://bucket/prefix`. */
  readonly location: string;
  head(name: string): Promise<ObjectSize | undefined>;
  /** The same for many names, in their order, by as few questions as the place allows. */
  headMany(names: readonly string[]): Promise<(ObjectSize | undefined)[]>;
  /** All bytes at once, or those of a range: for documents, small blobs and pieces of packs. */
  get(name: string, range?: ByteRange): Promise<Uint8Array | undefined>;
  /** Chunks are only valid until the next one is asked for. NOT_FOUND when there is no such object. */
  stream(name: string, range?: ByteRange): AsyncIterable<Uint8Array>;
  /** A whole object into an empty draft, that of another backend too. NOT_FOUND, DISK_FULL. */
  copyInto(name: string, draft: Draft): Promise<void>;
  /** Hundreds may be open at once: none may hold its bytes in memory, nor a file handle for long. */
  draft(): Promise<Draft>;
  /** Exactly one of many concurrent creators gets true. */
  create(name: string, bytes: Uint8Array): Promise<boolean>;
  /**
   * Many at the price of few flushes or round trips; `last` gets its name after all the others have
   * theirs. A name that is taken keeps the bytes that it has.
   */
  createMany(objects: readonly NewObject[], last?: NewObject): Promise<void>;
  /** Names below `folder`, sorted by code unit. */
  list(folder: string): Promise<string[]>;
  /** The same with size and age, a page at a time. */
  listInfo(folder: string): AsyncIterable<ObjectInfo>;
  /** The next path segment of every name below `folder`, unsorted. */
  children(folder: string): Promise<string[]>;
  /** For gc alone. A name that is not there is no error. */
  remove(names: readonly string[]): Promise<void>;
  /** Uploads that somebody has begun and not ended, other than this process. */
  unfinished(): Promise<UnfinishedUpload[]>;
  /** Takes a broken object out of sight, and keeps its bytes for whoever investigates. */
  quarantine(name: string): Promise<void>;
  /** A path from which the bytes can be cloned without reading them through this process. */
  localPath(name: string): string | undefined;
  /** Brings whole objects to where `localPath` finds them, if there is such a place; absent ones are no error. */
  prefetch(names: readonly string[]): Promise<void>;
}
