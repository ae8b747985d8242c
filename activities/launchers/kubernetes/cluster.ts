import {
  ApiException,
  BatchV1Api,
  CoreV1Api,
  CustomObjectsApi,
  type KubeConfig,
  type V1Job,
  type V1Pod,
} from '@kubernetes/client-node';
import { Failure } from '../../../core/errors.ts';
import { sharedLook } from '../scheduled-job.ts';
import { managedBy, nodesJob, type JobObject } from './job-object.ts';

/** What matters of a Job or a JobSet. */
export interface ClusterJob {
  kind: 'Job' | 'JobSet';
  name: string;
  isSuspended: boolean;
  /** Of the condition that ended it. */
  ended?: { type: 'Complete' | 'Failed'; reason: string; message: string };
}

/** What matters of a pod. */
export interface ClusterPod {
  name: string;
  /** Why it was taken away, by its DisruptionTarget condition. */
  disruption?: { reason: string; message: string };
  isOutOfMemory: boolean;
}

const jobSets = { group: 'jobset.x-k8s.io', version: 'v1alpha2', plural: 'jobsets' };
const labelSelector = Object.entries(managedBy)
  .map(([name, value]) => `${name}=${value}`)
  .join(',');

export interface ClusterOptions {
  config: KubeConfig;
  namespace: string;
  /** Whether JobSets are to be looked for: not every cluster knows them. */
  hasJobSets: boolean;
  /** Shortest time between two looks at the jobs. */
  pollMs: number;
}

/** The few calls to a cluster. All jobs of a namespace are looked at in one list each of Jobs and JobSets. */
export class Cluster {
  readonly #options: ClusterOptions;
  readonly #batch: BatchV1Api;
  readonly #core: CoreV1Api;
  readonly #custom: CustomObjectsApi;
  readonly #jobs: ReturnType<typeof sharedLook<ReadonlyMap<string, ClusterJob> | undefined>>;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#batch = options.config.makeApiClient(BatchV1Api);
    this.#core = options.config.makeApiClient(CoreV1Api);
    this.#custom = options.config.makeApiClient(CustomObjectsApi);
    this.#jobs = sharedLook(() => this.#look().catch(() => undefined), options.pollMs);
  }

  /** Creating what is there already is no mistake: a name is of one attempt. */
  async create(body: JobObject): Promise<void> {
    const { namespace } = this.#options;
    this.#jobs.forget();
    try {
      if (body.kind === 'JobSet')
        await this.#custom.createNamespacedCustomObject({ ...jobSets, namespace, body });
      else {
        // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- the client only serialises it
        const job = body as V1Job;
        await this.#batch.createNamespacedJob({ namespace, body: job });
      }
    } catch (error) {
      if (codeOf(error) === 409) return;
      throw toFailure(error, `create ${body.kind} ${body.metadata.name}`);
    }
  }

  /** Undefined when the cluster does not answer: nothing is known then, which is no reason to give a job up. */
  jobs(): Promise<ReadonlyMap<string, ClusterJob> | undefined> {
    return this.#jobs.get();
  }

  /** Pods get SIGTERM and their grace time; 0 kills at once. */
  async remove({ kind, name }: ClusterJob, graceSeconds: number): Promise<void> {
    const { namespace } = this.#options;
    const how = { name, namespace, propagationPolicy: 'Background' };
    this.#jobs.forget();
    try {
      for (const pod of await this.pods(name)) {
        await this.#core.deleteNamespacedPod({
          name: pod.name,
          namespace,
          gracePeriodSeconds: graceSeconds,
        });
      }
      if (kind === 'JobSet') await this.#custom.deleteNamespacedCustomObject({ ...jobSets, ...how });
      else await this.#batch.deleteNamespacedJob(how);
    } catch (error) {
      if (codeOf(error) !== 404) throw toFailure(error, `delete ${kind} ${name}`);
    }
  }

  /** Pods of a Job, or of the one Job of a JobSet. */
  async pods(job: string): Promise<ClusterPod[]> {
    const { namespace } = this.#options;
    const { items } = await this.#core.listNamespacedPod({ namespace, labelSelector });
    return items.filter((pod) => isOf(pod, job)).map(toPod);
  }

  async #look(): Promise<ReadonlyMap<string, ClusterJob>> {
    const { namespace, hasJobSets } = this.#options;
    const { items } = await this.#batch.listNamespacedJob({ namespace, labelSelector });
    const jobs = items.filter(
      (job) => job.metadata?.labels?.['jobset.sigs.k8s.io/jobset-name'] === undefined,
    );
    const found = jobs.map((job) => toJob(job, 'Job'));
    if (hasJobSets) {
      const list = (await this.#custom.listNamespacedCustomObject({
        ...jobSets,
        namespace,
        labelSelector,
      })) as {
        items: V1Job[];
      };
      found.push(...list.items.map((set) => toJob(set, 'JobSet')));
    }
    return new Map(found.map((job) => [job.name, job]));
  }
}

/** A JobSet's conditions say Completed where a Job's say Complete. */
function toJob({ metadata, spec, status }: V1Job, kind: ClusterJob['kind']): ClusterJob {
  const holds = status?.conditions?.find(
    ({ type, status: holding }) => holding === 'True' && ['Complete', 'Completed', 'Failed'].includes(type),
  );
  const ended = holds && {
    type: holds.type === 'Failed' ? ('Failed' as const) : ('Complete' as const),
    reason: holds.reason ?? '',
    message: holds.message ?? '',
  };
  return {
    kind,
    name: metadata?.name ?? '',
    isSuspended: spec?.suspend === true,
    ...(ended === undefined ? {} : { ended }),
  };
}

function isOf({ metadata }: V1Pod, job: string): boolean {
  const owner = metadata?.labels?.['batch.kubernetes.io/job-name'];
  return owner === job || owner === `${job}-${nodesJob}-0`;
}

/** @see https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions */
function toPod({ metadata, status }: V1Pod): ClusterPod {
  const held = status?.conditions?.find((one) => one.type === 'DisruptionTarget' && one.status === 'True');
  const ended = (status?.containerStatuses ?? []).map(({ state }) => state?.terminated?.reason);
  const disruption = held && { reason: held.reason ?? '', message: held.message ?? '' };
  return {
    name: metadata?.name ?? '',
    isOutOfMemory: ended.includes('OOMKilled'),
    ...(disruption === undefined ? {} : { disruption }),
  };
}

function codeOf(error: unknown): number | undefined {
  return error instanceof ApiException ? error.code : undefined;
}

/** 4xx is what was asked for; anything else may pass. */
function toFailure(cause: unknown, what: string): Failure {
  const code = codeOf(cause);
  const isOurs = code !== undefined && code >= 400 && code < 500 && code !== 429;
  return new Failure(isOurs ? 'BAD_INPUT' : 'NODE_LOST', `Kubernetes: ${what}: ${String(cause)}`, { cause });
}
