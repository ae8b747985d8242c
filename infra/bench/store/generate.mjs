// A run's checkpoints as the store meets them: a parent of 8 MoE layers with 64 experts (nine tenths of
// its bytes), a child with a quarter to a half of each layer's experts dropped, four training snapshots,
// two variants, their average, and a final one with KV scales. Experts stay as they are, everything else
// changes from one to the next. Bytes are AES-CTR streams: they do not compress.
//
//   node infra/bench/store/generate.mjs FOLDER [--scale 1]
//
// Prints the logical bytes and the unique bytes: each expert row, tensor and header counted once.
import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const layers = 8;
const experts = 64;
const fullHidden = 1088;
const fullVocabulary = 9420;

export function generate(folder, scale) {
  // Bytes grow with the square of the hidden size, which MXFP4 wants as a multiple of 32.
  const hidden = Math.max(32, Math.round((fullHidden * Math.sqrt(scale)) / 32) * 32);
  const size = { hidden, vocabulary: Math.round(fullVocabulary * Math.sqrt(scale)) };
  const all = Array.from({ length: layers }, () => Array.from({ length: experts }, (_, e) => e));
  const kept = all.map((ids, layer) => ids.filter((e) => (e * 7 + layer * 3) % 64 >= 16 + 2 * (layer + 1)));
  const counted = { seen: new Set(), uniqueBytes: 0, logicalBytes: 0 };
  const uniqueUpTo = {};
  const names = [
    'parent',
    'child',
    'snapshot-1',
    'snapshot-2',
    'snapshot-3',
    'snapshot-4',
    'variant-1',
    'variant-2',
  ];
  names.push('average', 'final');
  for (const name of names) {
    const rest = name === 'child' ? 'parent' : name === 'final' ? 'average' : name;
    const tensors = describe(size, name === 'parent' ? all : kept, { rest, hasScales: name === 'final' });
    write(join(folder, name), tensors, counted);
    uniqueUpTo[name] = counted.uniqueBytes;
  }
  return { names, uniqueBytes: counted.uniqueBytes, logicalBytes: counted.logicalBytes, uniqueUpTo };
}

/** Tensors with the rows that they are made of: [seed, bytes] each. */
function describe({ hidden: h, vocabulary }, kept, { rest, hasScales }) {
  const plain = (name, shape, dtype = 'BF16') => ({
    name,
    dtype,
    shape,
    rows: [[`${rest} ${name}`, shape.reduce((product, n) => product * n, dtype === 'BF16' ? 2 : 4)]],
  });
  const tensors = ['model.embed_tokens', 'lm_head'].map((name) => plain(`${name}.weight`, [vocabulary, h]));
  for (const [layer, ids] of kept.entries()) {
    const at = `model.layers.${layer}.`;
    const stacked = (name, shape, dtype) => ({
      name: at + name,
      dtype,
      shape: [ids.length, ...shape],
      rows: ids.map((e) => [`${at}${name} ${e}`, shape.reduce((p, n) => p * n, dtype === 'BF16' ? 2 : 1)]),
    });
    for (const p of ['q', 'k', 'v', 'o']) tensors.push(plain(`${at}self_attn.${p}_proj.weight`, [h, h]));
    for (const n of ['input', 'post_attention']) tensors.push(plain(`${at}${n}_layernorm.weight`, [h]));
    tensors.push(
      stacked('mlp.router.weight', [h], 'BF16'),
      stacked('mlp.router.bias', [], 'BF16'),
      stacked('mlp.experts.gate_up_proj_blocks', [2 * h, h / 32, 16], 'U8'),
      stacked('mlp.experts.gate_up_proj_scales', [2 * h, h / 32], 'U8'),
      stacked('mlp.experts.gate_up_proj_bias', [2 * h], 'BF16'),
      stacked('mlp.experts.down_proj_blocks', [h, h / 32, 16], 'U8'),
      stacked('mlp.experts.down_proj_scales', [h, h / 32], 'U8'),
      stacked('mlp.experts.down_proj_bias', [h], 'BF16'),
    );
    if (hasScales) for (const s of ['k', 'v']) tensors.push(plain(`${at}self_attn.${s}_scale`, [1], 'F32'));
  }
  // The order of safetensors' own writer: wide types first, then by name.
  const width = { F32: 0, BF16: 1, U8: 2 };
  return tensors.sort((a, b) => width[a.dtype] - width[b.dtype] || (a.name < b.name ? -1 : 1));
}

function write(folder, tensors, counted) {
  mkdirSync(folder, { recursive: true });
  const config = JSON.stringify({ model_type: 'gpt_oss_puzzle' });
  writeFileSync(join(folder, 'config.json'), config);
  const count = (bytes) => {
    counted.logicalBytes += bytes.length;
    const hash = createHash('sha256').update(bytes).digest('latin1');
    if (!counted.seen.has(hash)) counted.uniqueBytes += bytes.length;
    counted.seen.add(hash);
  };
  count(Buffer.from(config));
  let at = 0;
  const header = { __metadata__: { format: 'pt' } };
  for (const { name, dtype, shape, rows } of tensors) {
    const start = at;
    for (const [, bytes] of rows) at += bytes;
    header[name] = { dtype, shape, data_offsets: [start, at] };
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const descriptor = openSync(join(folder, 'model.safetensors'), 'w');
  const head = Buffer.concat([length, text]);
  count(head);
  writeSync(descriptor, head);
  for (const { rows } of tensors) {
    for (const [seed, bytes] of rows) {
      const row = noise(seed, bytes);
      count(row);
      writeSync(descriptor, row);
    }
  }
  closeSync(descriptor);
}

function noise(seed, sizeBytes) {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, , scale = '1'] = process.argv.slice(2);
  console.log(JSON.stringify(generate(folder, Number(scale))));
}
