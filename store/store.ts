import type { ArtifactRef, ArtifactType, FileEntry } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';

/**
 * The one interface to kept bytes and documents. Nothing is ever overwritten: artifacts are named by
 * content, documents are created once under a number that only grows.
 */
export interface Store {
  /** For people and logs: `file:///...` or `s3://bucket/prefix`. */
  readonly location: string;
  readonly artifacts: Artifacts;
  readonly records: Records;
  readonly refs: Refs;
  readonly leases: Leases;
  readonly snapshots: Snapshots;
  readonly documents: Documents;
}

export interface Manifest {
  schema: 'fretsaw/manifest/v1';
  type: ArtifactType;
  files: FileEntry[];
}

export interface PutOptions {
  type: ArtifactType;
  /** What the done-manifest promised; another size or hash is DIGEST_MISMATCH. */
  expected?: readonly FileEntry[];
}

export interface Artifacts {
  /** Stores every file below `folder` (symbolic links that leave it: UNSAFE_PATH), manifest last. */
  putFolder(folder: string, options: PutOptions): Promise<ArtifactRef>;
  /** The same for small files made in memory: relative path -> bytes. */
  putFiles(files: ReadonlyMap<string, Uint8Array>, options: PutOptions): Promise<ArtifactRef>;
  /** The file list; undefined when the store has never seen this artifact. */
  manifest(digest: Digest): Promise<Manifest | undefined>;
  /**
   * Paths of the artifact whose bytes are gone or of another size: empty means it is all there.
   * `(manifest)` when the list of files itself is gone. One look a file; reads no bytes.
   */
  missing(digest: Digest): Promise<string[]>;
  /** The same for many artifacts, by as few questions as the place allows. */
  missingMany(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, string[]>>;
  /** One file, verified. NOT_FOUND, CORRUPT. */
  readFile(digest: Digest, path: string): Promise<Uint8Array>;
  /** A read-only folder with all files, verified, made once and shared; returns its path. */
  view(digest: Digest): Promise<string>;
  /** A private, writable copy at `folder`, which must not exist. */
  export(digest: Digest, folder: string): Promise<void>;
  /** Digests of all known artifacts. */
  list(): Promise<Digest[]>;
}

/** A stored record: its bytes are a DSSE envelope round an in-toto statement (lineage/). */
export interface StoredRecord {
  key: StageKey;
  domain: string;
  generation: number;
  envelope: string;
}

/** What can be asked about records. */
export interface RecordAnswers {
  /** The highest generation in the first of the trusted domains that has one. */
  latest(key: StageKey): Promise<StoredRecord | undefined>;
  /** All generations of all trusted domains, oldest first. */
  history(key: StageKey): Promise<StoredRecord[]>;
  keys(): Promise<StageKey[]>;
}

export interface Records extends RecordAnswers {
  /** The trust domain that `create` writes to. */
  readonly domain: string;
  /** The same answers, as of now, for somebody who asks for many. */
  asOfNow(): Promise<RecordAnswers>;
  /**
   * Creates generation `generation` (1 for the first; a later one is above all that are there).
   * `created: false` returns the one that was there first: its outputs hold, ours are divergent. A
   * repeated call that finds its own bytes has created them.
   */
  create(
    key: StageKey,
    generation: number,
    envelope: string,
  ): Promise<{ created: boolean; record: StoredRecord }>;
}

export interface Refs {
  read(name: string): Promise<{ generation: number; text: string } | undefined>;
  /** False when this generation was taken by another text. */
  create(name: string, generation: number, text: string): Promise<boolean>;
  list(prefix: string): Promise<string[]>;
}

/** Who computes a key now. The highest attempt holds; a lower one is fenced. */
export interface Lease {
  schema: 'fretsaw/lease/v1';
  key: StageKey;
  attempt: number;
  holder: { run: string; host: string; pid: number };
  createdAt: string;
}

export interface Leases {
  latest(key: StageKey): Promise<Lease | undefined>;
  /** False when somebody has already taken this attempt number. */
  create(lease: Lease): Promise<boolean>;
}

/** A resumable training state in the store: artifact of type `folder`, named by key, attempt and step. */
export interface StoredSnapshot {
  schema: 'fretsaw/snapshot-record/v1';
  key: StageKey;
  attempt: number;
  step: number;
  artifact: ArtifactRef;
  state: Record<string, unknown>;
  createdAt: string;
}

export interface Snapshots {
  /** Newest first: by step, then attempt. */
  list(key: StageKey): Promise<StoredSnapshot[]>;
  /** LEASE_LOST when a higher attempt holds the key. */
  create(snapshot: StoredSnapshot): Promise<void>;
}

/** Create-only documents by path, e.g. `keys/<hex>`, `runs/<id>/plan`, `attempts/<hex>/<n>`. */
export interface Documents {
  read(path: string): Promise<string | undefined>;
  /** False when it exists already (equal or not). */
  create(path: string, text: string): Promise<boolean>;
  list(prefix: string): Promise<string[]>;
}
