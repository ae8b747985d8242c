import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inParallel } from '../../store/in-parallel.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';
import { openS3StoreRig } from '../contract/s3-rig.ts';
import { keyOf, put, type StoreRig } from '../contract/store-rig.ts';

const stages = Array.from({ length: 200 }, (_, n) => n);

describe.skipIf(radosgwIsMissing() !== undefined)('a plan of 200 stages in S3', { timeout: 240_000 }, () => {
  let rig: StoreRig;
  beforeEach(async () => {
    rig = await openS3StoreRig();
  }, 300_000);
  afterEach(() => rig.dispose());

  it('is seen to be all there by a few questions, and what is not there is named', async () => {
    const store = rig.open();
    const digests = new Map<number, Awaited<ReturnType<typeof put>>['digest']>();
    await inParallel(stages, 8, async (n) => {
      const { digest } = await put(store, { own: `own ${n}`, shared: 'shared' });
      digests.set(n, digest);
      await store.records.create(keyOf(`stage ${n}`), 1, `record ${n}`);
    });
    await rig.forgetLocal();
    const host = rig.open();
    const times: number[] = [];
    for (let round = 0; round < 2; round++) {
      const started = performance.now();
      const records = await host.records.asOfNow();
      for (const n of stages)
        expect(await records.latest(keyOf(`stage ${n}`))).toMatchObject({ envelope: `record ${n}` });
      const missing = await host.artifacts.missingMany([...digests.values()]);
      expect([...missing.values()].flat()).toEqual([]);
      times.push(performance.now() - started);
    }
    // Under a second on idle cores; the limit only catches a question for each stage on busy ones.
    expect(Math.min(...times)).toBeLessThan(6000);
    const [lost = ''] = (await rig.objects('blobs')).slice(-1);
    await rig.remove(lost);
    const gone = await host.artifacts.missingMany([...digests.values()]);
    expect([...gone.values()].flat().length).toBeGreaterThan(0);
  });
});
