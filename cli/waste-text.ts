import type { Waste } from '../lineage/waste.ts';
import { secondsText } from './table.ts';

/** `3 attempts (2 NODE_LOST), 40.1 s lost`, with GPU hours where there were any. */
export function wasteText({ attempts, causes, wastedSeconds, gpuHours, wastedGpuHours }: Waste): string {
  const why = Object.entries(causes).map(([code, count]) => `${count} ${code}`);
  const gpus = gpuHours > 0 ? ` (${wastedGpuHours.toFixed(2)} of ${gpuHours.toFixed(2)} GPU hours)` : '';
  return `${attempts} attempts${why.length === 0 ? '' : ` (${why.join(', ')})`}, ${secondsText(wastedSeconds)} lost${gpus}`;
}
