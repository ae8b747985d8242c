import { cutTensors } from './cut-tensors.ts';
import { readTensorFile } from './safetensors-header.ts';

/** Bytes of a file that are kept once wherever they occur. `group`: what goes into one pack with them. */
export interface Piece {
  length: number;
  group: string;
}

export type ReadAt = (position: number, length: number) => Buffer;

/** How a file is cut: at places that are known beforehand, by its content, or not at all. */
export type Cut =
  { kind: 'whole' } | { kind: 'planned'; pieces: Piece[] } | { kind: 'chunked'; group: string };

/** Up to this size a file is one blob: cutting it would save less than it costs. */
export const wholeUpToBytes = 1 << 20;
/** The same for files that are no safetensors; their content repeats less. */
export const chunkedFromBytes = 8 << 20;

export function cutFile(path: string, sizeBytes: number, readAt: ReadAt): Cut {
  if (sizeBytes <= wholeUpToBytes) return { kind: 'whole' };
  const tensors = path.endsWith('.safetensors') ? readTensorFile(readAt, sizeBytes) : undefined;
  if (tensors !== undefined) return { kind: 'planned', pieces: cutTensors(tensors, sizeBytes) };
  return sizeBytes < chunkedFromBytes ? { kind: 'whole' } : { kind: 'chunked', group: path };
}
