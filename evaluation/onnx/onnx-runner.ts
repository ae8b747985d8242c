import type { AnswerRequest, GenerateOptions, ModelRunner } from '../model-runner.ts';
import { BatchDecoder, type DecodeJob } from './batch-decoder.ts';
import type { GraphOptions } from './decoder-graph.ts';
import { openOnnxModel, type OnnxModel } from './onnx-model.ts';
import { tokenPicker } from './pick-token.ts';

export interface OnnxRunnerOptions extends GraphOptions {
  /** Answers in progress at once. */
  batchSize: number;
}

/** New prompts are read once a quarter of the batch is free: reading them one by one costs more than idle rows. */
const admitAtShareFree = 0.25;

/** An exported model in this process. */
export class OnnxRunner implements ModelRunner {
  readonly #model: OnnxModel;
  readonly #batchSize: number;

  private constructor(model: OnnxModel, batchSize: number) {
    this.#model = model;
    this.#batchSize = batchSize;
  }

  /** `folder` is an artifact of type `onnx`. */
  static async open(folder: string, { batchSize, ...graph }: OnnxRunnerOptions): Promise<OnnxRunner> {
    return new OnnxRunner(await openOnnxModel(folder, graph), batchSize);
  }

  async generate(requests: readonly AnswerRequest[], options: GenerateOptions): Promise<void> {
    const { graph, stopIds } = this.#model;
    const decoder = new BatchDecoder(graph, { stopIds, batchSize: this.#batchSize, admitAtShareFree });
    for (const job of this.#jobs(requests, options)) decoder.add(job);
    while (!decoder.isIdle && !options.shouldStop()) options.onTokens(await decoder.step());
  }

  async close(): Promise<void> {
    await this.#model.graph.close();
  }

  /** The longest first, so that the last batch is not one slow row; within a cap prompts of like length together. */
  #jobs(requests: readonly AnswerRequest[], options: GenerateOptions): DecodeJob[] {
    const jobs = requests.map((request) => this.#job(request, options));
    return jobs.sort((a, b) => b.maxNewTokens - a.maxNewTokens || b.promptIds.length - a.promptIds.length);
  }

  #job(request: AnswerRequest, options: GenerateOptions): DecodeJob {
    const { prompts } = this.#model;
    const tokenIds: number[] = [];
    return {
      promptIds: prompts.encode(request.messages, request.effort),
      pick: tokenPicker(options.decoding, request.id),
      maxNewTokens: request.maxNewTokens,
      ignoresEnd: request.ignoresEnd ?? false,
      onToken: (id) => tokenIds.push(id),
      onEnd: (isCapped) => {
        const { analysis, final } = prompts.parse(tokenIds);
        const tokens = tokenIds.length;
        options.onAnswer({ id: request.id, tokenIds, tokens, analysis, final, isCapped, error: null });
      },
    };
  }
}
