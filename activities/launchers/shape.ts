import { Failure } from '../../core/errors.ts';
import type { StageResources } from '../stage-request.ts';

/** Nodes and ranks on each: all GPUs of a node, unless the job needs fewer than one has. */
export interface Shape {
  nodes: number;
  ranksPerNode: number;
}

/** BAD_INPUT when the GPUs make no whole number of nodes. */
export function shapeOf({ gpus }: StageResources, gpusPerNode: number): Shape {
  if (gpus <= gpusPerNode) return { nodes: 1, ranksPerNode: Math.max(1, gpus) };
  if (gpus % gpusPerNode === 0) return { nodes: gpus / gpusPerNode, ranksPerNode: gpusPerNode };
  throw new Failure('BAD_INPUT', `${gpus} GPUs are no whole number of nodes of ${gpusPerNode}`);
}
