import { Runtime } from '@temporalio/worker';
import type { Meter } from '../activities/metrics.ts';

type Counter = ReturnType<Runtime['metricMeter']['createCounter']>;
type Gauge = ReturnType<Runtime['metricMeter']['createGauge']>;
type Histogram = ReturnType<Runtime['metricMeter']['createHistogram']>;

/** Counts into the Temporal SDK's own registry, so that one endpoint serves both. */
export function temporalMeter(): Meter {
  const meter = Runtime.instance().metricMeter;
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  return {
    add: (name, value, tags) => {
      // The SDK's counters are whole numbers.
      kept(counters, name, () => meter.createCounter(name)).add(Math.round(value), { ...tags });
    },
    set: (name, value, tags) => {
      kept(gauges, name, () => meter.createGauge(name, 'float')).set(value, { ...tags });
    },
    record: (name, value, tags) => {
      kept(histograms, name, () => meter.createHistogram(name, 'float')).record(value, { ...tags });
    },
  };
}

function kept<T>(map: Map<string, T>, name: string, make: () => T): T {
  const found = map.get(name) ?? make();
  map.set(name, found);
  return found;
}
