import { createServer, type IncomingMessage } from 'node:http';
import { kubernetesFaults } from './kubernetes-schemas.ts';

interface Kept {
  metadata?: { name?: string; labels?: object };
  spec?: { suspend?: boolean };
  status?: object;
}

interface Answer {
  code: number;
  body: object;
}

/**
 * An API server as far as the launcher uses one: it keeps objects, refuses what the official schemas
 * refuse, and asks for a token. Jobs do nothing by themselves; a test says what becomes of them.
 */
export class FakeKubernetes {
  readonly jobs = new Map<string, Kept>();
  readonly sets = new Map<string, Kept>();
  readonly pods = new Map<string, Kept>();
  /** `METHOD path`, in order. */
  readonly calls: string[] = [];
  isDown = false;
  readonly #server = createServer((request, response) => {
    if (this.isDown) request.socket.destroy();
    else
      void this.#answer(request).then(({ code, body }) => {
        response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      });
  });

  async open(): Promise<string> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  suspend(name: string, suspend: boolean): void {
    this.#object(name).spec = { ...this.#object(name).spec, suspend };
  }

  end(name: string, type: string, reason = ''): void {
    this.#object(name).status = { conditions: [{ type, status: 'True', reason }] };
  }

  addPod(job: string, status: object): void {
    const labels = { 'app.kubernetes.io/managed-by': 'fretsaw', 'batch.kubernetes.io/job-name': job };
    this.pods.set(`${job}-0`, { metadata: { name: `${job}-0`, labels }, status });
  }

  #object(name: string): Kept {
    const found = this.jobs.get(name) ?? this.sets.get(name);
    if (found === undefined) throw new Error(`no job ${name}`);
    return found;
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const { method = '', headers } = request;
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost');
    this.calls.push(`${method} ${pathname}`);
    let text = '';
    for await (const piece of request) text += String(piece);
    if (headers.authorization !== 'Bearer the-token') return status(401, 'Unauthorized');
    const kept = this.#kept(pathname);
    if (kept === undefined) return status(404, `no ${pathname}`);
    if (method === 'POST') return create(kept.objects, JSON.parse(text) as Kept);
    if (method === 'GET') return list(kept.objects, searchParams.get('labelSelector'));
    return kept.objects.delete(kept.name) ? status(200, 'deleted') : status(404, `no ${kept.name}`);
  }

  #kept(path: string): { objects: Map<string, Kept>; name: string } | undefined {
    const found = /^\/(?:apis|api)\/(.+)\/namespaces\/fretsaw\/(\w+)(?:\/([\w.-]+))?$/.exec(path);
    const kinds: Record<string, Map<string, Kept>> = {
      'batch/v1 jobs': this.jobs,
      'jobset.x-k8s.io/v1alpha2 jobsets': this.sets,
      'v1 pods': this.pods,
    };
    const objects = kinds[`${found?.[1] ?? ''} ${found?.[2] ?? ''}`];
    return objects === undefined ? undefined : { objects, name: found?.[3] ?? '' };
  }
}

function create(objects: Map<string, Kept>, object: Kept): Answer {
  const faults = kubernetesFaults(object);
  const name = object.metadata?.name ?? '';
  if (faults.length > 0) return status(422, faults.join('; '));
  if (objects.has(name)) return status(409, `${name} already exists`);
  objects.set(name, object);
  return { code: 201, body: object };
}

function list(objects: Map<string, Kept>, labels: string | null): Answer {
  if (labels !== 'app.kubernetes.io/managed-by=fretsaw') return status(400, `labels ${labels ?? ''}`);
  return { code: 200, body: { kind: 'List', apiVersion: 'v1', items: [...objects.values()] } };
}

function status(code: number, message: string): Answer {
  return {
    code,
    body: { kind: 'Status', apiVersion: 'v1', status: code < 300 ? 'Success' : 'Failure', code, message },
  };
}
