import { idealEngine, type Band, type EngineModel } from './engine-model.ts';
import { field, numberFrom, onlyKeys, withDefault, type Place } from './json-reader.ts';

/** An engine as `fretsaw costs fit` prints it and the setting `engine` of a `select` stage takes it. */
export interface CalibratedEngine {
  engine: EngineModel;
  band: Band;
}

const gibibyte = 2 ** 30;
const share = numberFrom(0.001, 1);

export function readEngine(place: Place): CalibratedEngine {
  onlyKeys(place, [
    'weight_efficiency', 'kv_efficiency_fp8', 'kv_efficiency_bf16', 'flop_efficiency', 'memory_share', 'reserved_gib',
    'band_mean', 'band_worst',
  ]); // prettier-ignore
  const at = (name: string): Place => field(place, name);
  return {
    engine: {
      ...idealEngine,
      weightEfficiency: share(at('weight_efficiency')),
      kvEfficiency: {
        1: share(at('kv_efficiency_fp8')),
        2: withDefault(at('kv_efficiency_bf16'), share, idealEngine.kvEfficiency[2]),
      },
      flopEfficiency: share(at('flop_efficiency')),
      memoryShare: withDefault(at('memory_share'), share, idealEngine.memoryShare),
      reservedBytes: numberFrom(0)(at('reserved_gib')) * gibibyte,
    },
    band: { mean: numberFrom(0)(at('band_mean')), worst: numberFrom(0)(at('band_worst')) },
  };
}

/** Rounded to four digits, which is more than a fit is good for. */
export function writeEngine({ engine, band }: CalibratedEngine): Record<string, number> {
  const figures = {
    weight_efficiency: engine.weightEfficiency,
    kv_efficiency_fp8: engine.kvEfficiency[1],
    kv_efficiency_bf16: engine.kvEfficiency[2],
    flop_efficiency: engine.flopEfficiency,
    memory_share: engine.memoryShare,
    reserved_gib: engine.reservedBytes / gibibyte,
    band_mean: band.mean,
    band_worst: band.worst,
  };
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(4))]),
  );
}
