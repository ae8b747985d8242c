import { readFileSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';

const folder = new URL('histories/', import.meta.url);

/** Everything that a payload of ours may say: names, numbers, digests and what happened; never settings, text of a spec, or bytes. */
const known = new Set(
  `run spec planDigest plan recompute stage reason queues control waiters maxInFlight ended heartbeatSeconds leaseSeconds
  isControlPool kind key pool attempts answers rankBatch stall budget resources cpus gpus micro_batch memory_gib secrets
  times seconds hours gpu_hours generation outputs digest type sizeBytes code message details request ready known hits
  requests failed name outcome stages after by result summary state counts cached ran cancelled blocked problems
  finishedAt outcomes owner pid host started
  attempt exit approve act by at reason leaves ran control isPaused pausedStages approvedStages acts gpuHours isBudgetTold`.split(/\s+/),
);
/** Of the SDK's own markers. */
const ofTemporal = new Set(
  'seq attempt activity_id activity_type complete_time backoff original_schedule_time seconds nanos id deprecated'.split(
    ' ',
  ),
);
const largestPayload = 64 * 1024;

interface Payload {
  data: string;
}

/** Payloads anywhere in a history: `{ metadata: { encoding }, data }`. */
function* payloadsIn(value: unknown): Generator<Payload> {
  if (typeof value !== 'object' || value === null) return;
  if ('data' in value && 'metadata' in value && typeof value.data === 'string') yield { data: value.data };
  else for (const member of Object.values(value)) yield* payloadsIn(member);
}

function isMap(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function* fieldsIn(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, member] of Object.entries(value)) {
    if (!Array.isArray(value)) yield name;
    // Below it stand names that a spec gives its outputs.
    yield* fieldsIn(name === 'outputs' && isMap(member) ? Object.values(member) : member);
  }
}

/** Recorded when failures still carried their job's folder and last lines. */
function isOldDetail(text: string): boolean {
  return /^\{"attempt":\d+,"folder":"[^"]*",("exit":(null|\d+),)?"log":""\}$/.test(text);
}

const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });

test.each(files.filter((name) => name.endsWith('.json')))('%s holds names, numbers and digests in its payloads, and nothing else', (file) => {
  const history: unknown = JSON.parse(readFileSync(new URL(file, folder), 'utf8'));
  const payloads = [...payloadsIn(history)];
  expect(payloads.length).toBeGreaterThan(1);
  for (const { data } of payloads) {
    const bytes = Buffer.from(data, 'base64');
    expect(bytes.length).toBeLessThan(largestPayload);
    const text = bytes.toString('utf8');
    if (isOldDetail(text)) continue;
    if (!text.startsWith('{') && !text.startsWith('[')) continue;
    const unknown = [...fieldsIn(JSON.parse(text))].filter((name) => !known.has(name) && !ofTemporal.has(name));
    expect(unknown, text.slice(0, 2000)).toEqual([]);
  }
});
