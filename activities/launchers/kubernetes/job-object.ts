import type { KubernetesSettings } from '../../../compiler/pool.ts';
import { Failure } from '../../../core/errors.ts';
import type { JobFolder } from '../../job-folder.ts';
import type { JobCommand } from '../launcher.ts';
import { shapeOf, type Shape } from '../shape.ts';
import { podCommand } from './pod-command.ts';

/** What is sent to the cluster. Its inside is checked against the official schemas by tests, and by the API server. */
export interface JobObject {
  apiVersion: string;
  kind: 'Job' | 'JobSet';
  metadata: { name: string; namespace: string; labels: Readonly<Record<string, string>> };
  spec: object;
}

export interface JobObjectOptions {
  settings: KubernetesSettings;
  name: string;
  python: string;
  /** Mounted from the claim at this path. */
  home: string;
  graceSeconds: number;
}

/** Ended jobs are kept for a day, for people to look at. */
const keptSeconds = 86_400;
export const managedBy = { 'app.kubernetes.io/managed-by': 'fretsaw' };
/** Of a JobSet's one Job. */
export const nodesJob = 'nodes';
/** The headless service of the chart that gives pods of plain Jobs their names. */
const jobsService = 'fretsaw-jobs';

/**
 * One attempt as an indexed Job, a pod a node; as a JobSet where the pool says so and several nodes work together. Nothing is ever
 * restarted in place (backoffLimit 0): another attempt is Fretsaw's, in a folder of its own, under a lease that fences the older one off.
 * With a Kueue queue it is created suspended, and admitted by Kueue.
 * @see https://kueue.sigs.k8s.io/docs/tasks/run/jobs/ and https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2/
 */
export function jobObject(folder: JobFolder, command: JobCommand, options: JobObjectOptions): JobObject {
  const { settings, name } = options;
  const shape = shapeOf(command.resources, settings.gpus_per_node);
  const isSet = settings.jobset && shape.nodes > 1;
  const labels = {
    ...managedBy,
    'app.kubernetes.io/name': 'fretsaw',
    'app.kubernetes.io/component': 'job',
    'fretsaw.dev/attempt': String(folder.attempt),
  };
  const queue = settings.queue === undefined ? {} : { 'kueue.x-k8s.io/queue-name': settings.queue };
  const metadata = { name, namespace: settings.namespace, labels: { ...labels, ...queue } };
  const suspend = settings.queue === undefined ? {} : { suspend: true };
  const head = isSet ? `${name}-${nodesJob}-0-0.${name}` : `${name}-0.${jobsService}`;
  const pod = podSpec(folder, command, { ...options, shape, head });
  const subdomain = isSet || shape.nodes === 1 ? {} : { subdomain: jobsService };
  const spec = {
    completionMode: 'Indexed',
    completions: shape.nodes,
    parallelism: shape.nodes,
    backoffLimit: 0,
    template: { metadata: { labels }, spec: { ...pod, ...subdomain } },
  };
  if (!isSet) {
    return {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata,
      spec: { ...spec, ...suspend, ttlSecondsAfterFinished: keptSeconds },
    };
  }
  return {
    apiVersion: 'jobset.x-k8s.io/v1alpha2',
    kind: 'JobSet',
    metadata,
    spec: {
      ...suspend,
      failurePolicy: { maxRestarts: 0 },
      network: { enableDNSHostnames: true },
      ttlSecondsAfterFinished: keptSeconds,
      replicatedJobs: [{ name: nodesJob, replicas: 1, template: { spec } }],
    },
  };
}

interface PodOptions extends JobObjectOptions {
  shape: Shape;
  head: string;
}

function podSpec(folder: JobFolder, command: JobCommand, options: PodOptions): object {
  const { settings, home, graceSeconds } = options;
  const user = settings.run_as;
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: graceSeconds,
    automountServiceAccountToken: false,
    ...(settings.service_account === undefined ? {} : { serviceAccountName: settings.service_account }),
    ...(Object.keys(settings.node_selector).length === 0 ? {} : { nodeSelector: settings.node_selector }),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: user,
      runAsGroup: user,
      fsGroup: user,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'job',
        image: settings.image,
        command: podCommand(folder, command, options),
        workingDir: command.cwd,
        env: environment(command, settings),
        resources: resourcesOf(command, options),
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        volumeMounts: [
          { name: 'home', mountPath: home },
          { name: 'tmp', mountPath: '/tmp' },
          { name: 'shared-memory', mountPath: '/dev/shm' },
        ],
      },
    ],
    volumes: [
      { name: 'home', persistentVolumeClaim: { claimName: settings.claim } },
      { name: 'tmp', emptyDir: {} },
      // Ranks of a node talk through it; a container's own has 64 MiB.
      { name: 'shared-memory', emptyDir: { medium: 'Memory' } },
    ],
  };
}

/** Secrets are references: their values are in Kubernetes alone. The worker's PATH is of another machine. */
function environment({ env, secrets }: JobCommand, { secret }: KubernetesSettings): object[] {
  const plain = Object.entries(env)
    .filter(([name]) => name !== 'PATH' && name !== 'LD_LIBRARY_PATH' && name !== 'HOME')
    .map(([name, value]) => ({ name, value: value.replaceAll('$(', '$$$$(') }));
  const named = Object.entries(secrets).map(([name, key]) => {
    if (secret === undefined)
      throw new Failure('BAD_INPUT', `no secret ${key}: the pool names no Secret object`);
    return { name, valueFrom: { secretKeyRef: { name: secret, key } } };
  });
  return [{ name: 'HOME', value: '/tmp' }, ...plain, ...named];
}

function resourcesOf({ resources }: JobCommand, { settings, shape }: PodOptions): object {
  const gpus = resources.gpus > 0 ? { [settings.gpu_resource]: String(shape.ranksPerNode) } : {};
  const memory = resources.memory_gib === undefined ? {} : { memory: `${Math.ceil(resources.memory_gib)}Gi` };
  return { requests: { cpu: String(resources.cpus), ...memory, ...gpus }, limits: { ...memory, ...gpus } };
}
