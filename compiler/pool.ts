/** How jobs of a pool get a container: none, or the image through one of the two runtimes that Slurm sites have. */
export interface SlurmContainer {
  runtime: 'pyxis' | 'apptainer';
  image: string;
  /** `host:container[:ro]`. The installation and the home are mounted anyway. */
  mounts: readonly string[];
}

export interface SlurmSettings {
  partition?: string;
  account?: string;
  qos?: string;
  gpus_per_node: number;
  /** What one node's GPUs are asked for as (`gpu:h100`); absent where the cluster counts none. */
  gres?: string;
  /** Longest time that the scheduler gives a job. */
  hours?: number;
  /** Written into the script as they are: `--constraint=nvlink`. */
  options: readonly string[];
  /** Seconds between two looks at the queue, whatever the number of jobs. */
  poll_seconds: number;
  container?: SlurmContainer;
}

export interface KubernetesSettings {
  namespace: string;
  image: string;
  gpus_per_node: number;
  /** Resource name of one GPU. */
  gpu_resource: string;
  /** Kueue LocalQueue; absent: no queueing. */
  queue?: string;
  /** JobSet where several nodes work together; an indexed Job alone otherwise. */
  jobset: boolean;
  /** Claim that holds the home, mounted at the same path as on the worker. */
  claim: string;
  service_account?: string;
  /** Secret object whose keys are the names of secrets. */
  secret?: string;
  node_selector: Readonly<Record<string, string>>;
  /** User and group id of jobs. */
  run_as: number;
  poll_seconds: number;
}

/** Who may use a pool: the holder of one of these keys signs the plan. */
export interface AllowedSigner {
  name: string;
  /** Ed25519 public key: SubjectPublicKeyInfo in base64. */
  key: string;
  /** Branches that this signer may run, `*` matches within a name; absent: any. */
  branches?: readonly string[];
}

export interface JobSettings {
  /** The system's user that runs jobs; absent: the worker's own. */
  user?: string;
  /** Variables of the worker that jobs see besides PATH, HOME and the like. */
  env: readonly string[];
}

/** One pool as its file says, with defaults. */
export interface Pool {
  name: string;
  launcher: 'local' | 'slurm' | 'kubernetes';
  /** Stages at work at once. */
  slots: number;
  /** Job folders, and the store where there is no other; absent: FRETSAW_HOME. Slurm and Kubernetes need it at one path on all nodes. */
  home?: string;
  /** Where the store is, as FRETSAW_STORE says it: a folder or `s3://bucket/prefix`. */
  store?: string;
  /** Where the installation lies on the machines that run jobs; absent: where it lies here. */
  installation?: string;
  /** `NAME=value` lines: credentials of the store and secrets, for this worker alone. */
  credentials?: string;
  jobs: JobSettings;
  /** Absent: whoever reaches the queue may use the pool. */
  allow?: readonly AllowedSigner[];
  slurm?: SlurmSettings;
  kubernetes?: KubernetesSettings;
}
