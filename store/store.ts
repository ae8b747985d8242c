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
  readonly upkeep: Upkeep;
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

/** Which files of a folder are meant. */
export interface FolderOptions extends PutOptions {
  /** A further folder that symbolic links may lead to; such a link counts as the file. */
  linksInto?: string;
  /** Folders that do not belong to the artifact, by path in it. */
  without?: readonly string[];
}

/** A tensor as its safetensors file (`file`) has it: row-major, little-endian. */
export interface StoredTensor {
  file: string;
  name: string;
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

export interface Artifacts {
  /** Stores every file below `folder` (symbolic links that leave it: UNSAFE_PATH), manifest last. */
  putFolder(folder: string, options: FolderOptions): Promise<ArtifactRef>;
  /** The same for small files made in memory: relative path -> bytes. */
  putFiles(files: ReadonlyMap<string, Uint8Array>, options: PutOptions): Promise<ArtifactRef>;
  /** The file list; undefined when the store has never seen this artifact. */
  manifest(digest: Digest): Promise<Manifest | undefined>;
  /**
   * Paths of the artifact whose bytes are gone or of another size: empty means it is all there.
   * `(manifest)` when the list of files itself is gone, `(tombstone: <reason>)` when it was removed for good. One look a file; reads no bytes.
   */
  missing(digest: Digest): Promise<string[]>;
  /** The same for many artifacts, by as few questions as the place allows. */
  missingMany(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, string[]>>;
  /** One file, verified. NOT_FOUND, CORRUPT. */
  readFile(digest: Digest, path: string): Promise<Uint8Array>;
  /** One tensor of a checkpoint, or one expert's row of it, verified, without the rest. NOT_FOUND, BAD_INPUT. */
  readTensor(digest: Digest, tensor: { name: string; expert?: number }): Promise<StoredTensor>;
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
  /** Forgets a snapshot; its bytes stay until nothing names them. Lineage never names one. */
  remove(snapshot: StoredSnapshot): Promise<void>;
}

/** Create-only documents by path, e.g. `keys/<hex>`, `runs/<id>/plan`, `attempts/<hex>/<n>`. */
export interface Documents {
  read(path: string): Promise<string | undefined>;
  /** False when it exists already (equal or not). */
  create(path: string, text: string): Promise<boolean>;
  list(prefix: string): Promise<string[]>;
}

/** What keeps a store healthy: what may go, what is broken, what takes the room. */
export interface Upkeep {
  /** Removes what no root reaches. Safe beside writers. STORE_UNAVAILABLE while another is at work. */
  collect(options: GarbageOptions): Promise<GarbageReport>;
  /** Removes an artifact for good: bytes that no other needs go now, lineage stays, putting it again is refused. */
  bury(digest: Digest, reason: string): Promise<{ removedBytes: number; sharedBytes: number }>;
  /** Keeps (or no longer keeps) an artifact whatever refers to it. NOT_FOUND unless it is all there. */
  pin(name: string, digest: Digest): Promise<void>;
  unpin(name: string): Promise<void>;
  /** Digests that refs name now: releases and pins. */
  referred(): Promise<Digest[]>;
  /** Looks at everything that is kept; what is broken goes to quarantine. */
  verify(options: VerifyOptions): Promise<VerifyReport>;
  /** Mends artifacts that lack bytes, from a store that has them; returns those that still do. */
  repair(from: Store): Promise<{ mended: Digest[]; lost: Digest[] }>;
  /** How the room is taken by groups of artifacts, e.g. those of a run. */
  usage(groups: readonly (readonly Digest[])[]): Promise<GroupUsage[]>;
}

export interface GarbageOptions {
  /** Asked once the collection has begun: a root that comes later waits for its end. */
  roots: () => Promise<readonly Digest[]>;
  /** What was written since stays, whoever refers to it: its record may still come. */
  graceMs: number;
  dryRun: boolean;
}

/** `objects`: what went, or with `dryRun` would go. */
export interface GarbageReport {
  objects: { name: string; sizeBytes: number }[];
  bytes: number;
  keptBytes: number;
}

export interface VerifyOptions {
  /** `structure`: manifests, layouts, names and sizes. `bytes`: every byte against its hash, too. */
  depth: 'structure' | 'bytes';
  /** Begin after this object (the last one that an interrupted look reported). */
  after?: string;
  /** At most so many bytes a second are read. */
  bytesPerSecond?: number;
  /** Called as it goes on, so that a look can be taken up again. */
  progress?: (done: { name: string; bytes: number }) => void;
}

export interface VerifyReport {
  artifacts: number;
  objects: number;
  /** Bytes that were read and hashed. */
  bytes: number;
  /** What was wrong, e.g. `blobs/...: expected sha256 ...`. */
  broken: string[];
  /** Artifacts that lack bytes, with what they lack. */
  incomplete: { digest: Digest; missing: string[] }[];
}

/** In bytes. `logical`: as files. `own`: stored, and needed by no other group. `shared`: stored, and needed by others. */
export interface GroupUsage {
  logicalBytes: number;
  ownBytes: number;
  sharedBytes: number;
}
