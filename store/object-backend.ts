/** Bytes that are to get a name: in memory, or a draft that was streamed because its name is its hash. */
export interface NewObject {
  name: string;
  content: Uint8Array | Draft;
}

/** Bytes on their way in. They have no name and are seen by nobody until `createMany` publishes them. */
export interface Draft {
  readonly sizeBytes: number;
  write(chunk: Uint8Array): Promise<void>;
  /** Gives the space back; harmless after it was published. */
  discard(): Promise<void>;
}

/**
 * What the store needs of a place that keeps bytes under names (a disk, later S3). There is no
 * overwrite, no rename and no delete here. Names are slash-separated and were checked by
 * object-names.ts. Whatever these promises have resolved survives the loss of power.
 */
export interface ObjectBackend {
  /** For people and logs: `file:///...` or `s3://bucket/prefix`. */
  readonly location: string;
  head(name: string): Promise<{ sizeBytes: number } | undefined>;
  /** All bytes at once: for documents and small blobs. */
  get(name: string): Promise<Uint8Array | undefined>;
  /** Chunks are only valid until the next one is asked for. NOT_FOUND when there is no such object. */
  stream(name: string, range?: { start: number; end: number }): AsyncIterable<Uint8Array>;
  draft(): Promise<Draft>;
  /** Exactly one of many concurrent creators gets true. */
  create(name: string, bytes: Uint8Array): Promise<boolean>;
  /** The same for many, at the price of few flushes; `last` gets its name after all the others have theirs. */
  createMany(objects: readonly NewObject[], last?: NewObject): Promise<void>;
  /** Names below `folder`, sorted by code unit. */
  list(folder: string): Promise<string[]>;
  /** The next path segment of every name below `folder`, unsorted. */
  children(folder: string): Promise<string[]>;
  /** Takes a broken object out of sight, and keeps its bytes for whoever investigates. */
  quarantine(name: string): Promise<void>;
  /** A path from which the bytes can be cloned without reading them through this process. */
  localPath(name: string): string | undefined;
}
