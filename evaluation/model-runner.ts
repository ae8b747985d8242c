import type { ChatMessage } from './task-examples.ts';

/** One question put to a model. `id` is unique among the requests of a run. */
export interface AnswerRequest {
  id: string;
  messages: readonly ChatMessage[];
  effort: string;
  /** The cap: an answer that reaches it without ending has hit it. */
  maxNewTokens: number;
  /** Write on past the end of the answer, up to the cap: for measuring speed with outputs of one length. */
  ignoresEnd?: boolean;
}

/** What came back. `analysis` and `final` as the model's channels had them; raw ids where the runner sees them. */
export interface ModelAnswer {
  id: string;
  tokenIds: readonly number[] | null;
  tokens: number;
  analysis: string | null;
  final: string | null;
  isCapped: boolean;
  /** Why there is no answer (a server that gave up); null when the model was heard to the end. */
  error: string | null;
}

export type Decoding = { kind: 'greedy' } | { kind: 'sampled'; temperature: number; seed: number };

/**
 * Something that answers: ONNX Runtime in this process, or a server. Answers arrive in the order in which they
 * are finished. `generate` ends early, without an error, once `shouldStop` says so between two tokens.
 */
export interface ModelRunner {
  generate(requests: readonly AnswerRequest[], options: GenerateOptions): Promise<void>;
  close(): Promise<void>;
}

export interface GenerateOptions {
  decoding: Decoding;
  onAnswer(answer: ModelAnswer): void;
  /** Called after every step with the tokens written in it. */
  onTokens(count: number): void;
  shouldStop(): boolean;
}
