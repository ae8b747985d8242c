import type { Piece } from './cut-file.ts';
import { tensorOwner } from './expert-names.ts';
import type { TensorEntry, TensorFile } from './safetensors-header.ts';

/** No piece is greater: it is held in memory while it is hashed. */
export const maxPieceBytes = 16 << 20;
/** Rows below this stay together: an entry in the layout would cost a tenth of them. */
const minRowBytes = 1 << 10;

/**
 * A safetensors file as pieces in the order of its bytes: the header, each tensor, each expert's row of
 * a stacked tensor, and whatever lies between them. Pieces of one (layer, expert) form one group, so
 * that a pack holds what is dropped or kept together.
 */
export function cutTensors({ dataStart, tensors }: TensorFile, sizeBytes: number): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  const upTo = (end: number, group: string): void => {
    for (; at < end; at = Math.min(end, at + maxPieceBytes))
      pieces.push({ length: Math.min(end - at, maxPieceBytes), group });
  };
  upTo(dataStart, 'model');
  for (const tensor of tensors) {
    upTo(tensor.start, 'model');
    if (tensor.start < at) continue; // overlaps the one before, which the format forbids: no bound of its own
    const { rows, groupOf } = rowsOf(tensor);
    const rowBytes = (tensor.end - tensor.start) / rows;
    for (let row = 0; row < rows; row++) upTo(tensor.start + (row + 1) * rowBytes, groupOf(row));
  }
  upTo(sizeBytes, 'model');
  return pieces;
}

function rowsOf(tensor: TensorEntry): { rows: number; groupOf: (row: number) => string } {
  const owner = tensorOwner(tensor.name);
  switch (owner.kind) {
    case 'model':
      return { rows: 1, groupOf: () => 'model' };
    case 'layer':
      return { rows: 1, groupOf: () => `layer ${owner.layer}` };
    case 'expert':
      return { rows: 1, groupOf: () => `layer ${owner.layer} expert ${owner.expert}` };
    case 'stacked': {
      const rows = tensor.shape[0] ?? 0;
      const rowBytes = (tensor.end - tensor.start) / rows;
      if (rows < 1 || !Number.isInteger(rowBytes) || rowBytes < minRowBytes)
        return { rows: 1, groupOf: () => `layer ${owner.layer}` };
      return { rows, groupOf: (row) => `layer ${owner.layer} expert ${row}` };
    }
  }
}
