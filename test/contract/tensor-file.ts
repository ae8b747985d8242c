import { createCipheriv, createHash } from 'node:crypto';

/** A tensor of bytes (dtype U8), as a test writes it. */
export interface TestTensor {
  name: string;
  shape: number[];
  bytes: Buffer;
}

/** A safetensors file with the header's padding that the format's own writer makes. */
export function tensorFile(tensors: readonly TestTensor[], metadata: Record<string, string> = {}): Buffer {
  let at = 0;
  const entries = tensors.map(({ name, shape, bytes }) => {
    const offsets = [at, at + bytes.length];
    at += bytes.length;
    return [name, { dtype: 'U8', shape, data_offsets: offsets }];
  });
  const json = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) });
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8, ' '));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, ...tensors.map(({ bytes }) => bytes)]);
}

/** Bytes that do not compress and depend on `seed` alone. */
export function noise(seed: string, sizeBytes: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
}

const rowBytes = { gate_up_proj_blocks: 96 << 10, gate_up_proj_scales: 6 << 10, down_proj_blocks: 48 << 10 };

/** A small gpt-oss: per layer stacked experts, whose bytes follow the expert's id, a router and attention. */
export function moeFile(experts: readonly (readonly number[])[], rest = 'parent'): Buffer {
  const tensors = experts.flatMap((kept, layer): TestTensor[] => {
    const at = `model.layers.${layer}.`;
    const stacked = Object.entries(rowBytes).map(([name, bytes]) => ({
      name: `${at}mlp.experts.${name}`,
      shape: [kept.length, bytes],
      bytes: Buffer.concat(kept.map((expert) => noise(`${layer} ${expert} ${name}`, bytes))),
    }));
    return [
      { name: `${at}self_attn.q_proj.weight`, shape: [40_000], bytes: noise(`${rest} q ${layer}`, 40_000) },
      ...stacked,
      { name: `${at}mlp.router.bias`, shape: [kept.length], bytes: Buffer.from(kept) },
    ];
  });
  return tensorFile(tensors, { format: 'pt' });
}
