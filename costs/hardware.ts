import b200 from './hardware/b200-sxm.json' with { type: 'json' };
import h100 from './hardware/h100-sxm.json' with { type: 'json' };
import h200 from './hardware/h200-sxm.json' with { type: 'json' };

/** One GPU, peak figures. */
export interface Hardware {
  name: string;
  memoryBytes: number;
  /** Bytes a second from its memory. */
  memoryBandwidth: number;
  /** FLOP a second, dense bf16. */
  flops: number;
  /** Bytes a second to the other GPUs of its node, each way. */
  linkBandwidth: number;
  /** GPUs of a node. */
  nodeGpus: number;
  /** Bytes a second to GPUs of other nodes, each way. */
  networkBandwidth: number;
}

export const hardwareNames = ['h100-sxm', 'h200-sxm', 'b200-sxm'] as const;
export type HardwareName = (typeof hardwareNames)[number];

export const hardware: Readonly<Record<HardwareName, Hardware>> = {
  'h100-sxm': fromData(h100),
  'h200-sxm': fromData(h200),
  'b200-sxm': fromData(b200),
};

function fromData(data: typeof h100): Hardware {
  return {
    name: data.name,
    memoryBytes: data.memory_bytes,
    memoryBandwidth: data.memory_bandwidth,
    flops: data.flops_bf16,
    linkBandwidth: data.link_bandwidth,
    nodeGpus: data.node_gpus,
    networkBandwidth: data.network_bandwidth,
  };
}
