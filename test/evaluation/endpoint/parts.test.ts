import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdaptiveLimit } from '../../../evaluation/endpoint/adaptive-limit.ts';
import { backoffMs } from '../../../evaluation/endpoint/backoff.ts';
import { eventData } from '../../../evaluation/endpoint/event-stream.ts';
import { failureOfStatus } from '../../../evaluation/endpoint/request-failure.ts';

async function* parts(bytes: Uint8Array, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    yield bytes.subarray(from, cut);
    from = cut;
  }
}

describe('server-sent events', () => {
  it('are the same however the bytes were cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text))),
        fc.array(fc.nat(300), { maxLength: 8 }),
        fc.constantFrom('\n', '\r\n'),
        async (events, cuts, newline) => {
          const text = events
            .map((event) => `data: ${event}${newline}: a comment${newline}${newline}`)
            .join('');
          const bytes = new TextEncoder().encode(text);
          const sorted = cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b);
          const found: string[] = [];
          for await (const data of eventData(parts(bytes, sorted))) found.push(data);
          expect(found).toEqual(events);
        },
      ),
    );
  });

  it('that were cut off are left out', async () => {
    const found: string[] = [];
    for await (const data of eventData(parts(new TextEncoder().encode('data: 1\n\ndata: 2'), [])))
      found.push(data);
    expect(found).toEqual(['1']);
  });
});

describe('the limit of open requests', () => {
  it('rises by one for a round that went well, halves when the server is full, and stays within its bounds', () => {
    const limit = new AdaptiveLimit(4, 6);
    const seen: number[] = [];
    for (let n = 0; n < 9; n++) {
      limit.wentWell();
      seen.push(limit.value);
    }
    expect(seen).toEqual([4, 4, 4, 5, 5, 5, 5, 5, 6]);
    for (let n = 0; n < 20; n++) limit.wentWell();
    expect(limit.value).toBe(6);
    limit.wasFull();
    expect(limit.value).toBe(3);
    for (let n = 0; n < 5; n++) limit.wasFull();
    expect(limit.value).toBe(1);
  });
});

describe('a pause before another try', () => {
  const options = { firstMs: 100, mostMs: 1000, random: () => 0 };
  it('doubles up to its most, and is never shorter than the server asked for', () => {
    expect([1, 2, 3, 4, 5, 9].map((tries) => backoffMs(tries, undefined, options))).toEqual([
      50, 100, 200, 400, 500, 500,
    ]);
    expect(backoffMs(1, 7000, options)).toBe(7000);
    expect(backoffMs(1, undefined, { ...options, random: () => 0.999 })).toBeLessThan(100);
  });
});

describe('a status', () => {
  it.each([
    [429, 'busy', true],
    [500, 'server', true],
    [503, 'server', true],
    [408, 'timeout', true],
    [400, 'refused', false],
    [422, 'refused', false],
    [401, 'denied', false],
    [404, 'denied', false],
  ])('%i is %s', (status, kind, isWorthRetrying) => {
    expect(failureOfStatus(status, '', null)).toMatchObject({ kind, isWorthRetrying });
  });

  it('says when to come again, in seconds or by date', () => {
    expect(failureOfStatus(429, '', '3').retryAfterMs).toBe(3000);
    expect(failureOfStatus(429, '', 'Thu, 01 Jan 1970 00:00:00 GMT').retryAfterMs).toBe(0);
    expect(failureOfStatus(429, '', 'soon').retryAfterMs).toBeUndefined();
  });
});
