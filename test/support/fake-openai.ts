import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** How the fake server meets one request. */
export type Meeting =
  | {
      kind: 'answer';
      reasoning?: string;
      content?: string;
      finish?: string;
      usage?: boolean;
      pieceMs?: number;
    }
  | { kind: 'status'; status: number; retryAfter?: string }
  /** The connection is cut after so many pieces. */
  | { kind: 'cut'; after: number }
  /** A stream that ends in good order, but before the answer does. */
  | { kind: 'unended' }
  | { kind: 'malformed' }
  | { kind: 'not-sse' }
  /** Never another byte. */
  | { kind: 'silent' }
  /** Piece upon piece, whatever the cap. */
  | { kind: 'endless' }
  | { kind: 'error-event' };

export interface Asked {
  body: Record<string, unknown>;
  headers: IncomingMessage['headers'];
  /** Text of the last message. */
  question: string;
}

export interface FakeServer {
  url: string;
  asked: Asked[];
  /** Most requests that were open at once. */
  mostOpen: number;
  close(): Promise<void>;
}

/** An OpenAI-compatible server whose every fault is asked for: `meet` says how the n-th request (from 0) is met. */
export async function startFakeServer(
  meet: (n: number, asked: Asked) => Meeting,
  port = 0,
): Promise<FakeServer> {
  const fake: FakeServer = { url: '', asked: [], mostOpen: 0, close: async () => undefined };
  let open = 0;
  const server = createServer((request, response) => {
    open++;
    fake.mostOpen = Math.max(fake.mostOpen, open);
    response.once('close', () => open--);
    void serve(request, response);
  });
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ object: 'list', data: [{ id: 'fake', object: 'model' }] }));
      return;
    }
    const asked = await readAsked(request);
    fake.asked.push(asked);
    await play(response, meet(fake.asked.length - 1, asked));
  }
  await new Promise<void>((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
  fake.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  fake.close = () =>
    new Promise((resolve) => {
      server.close(() => {
        resolve();
      });
      server.closeAllConnections();
    });
  return fake;
}

async function readAsked(request: IncomingMessage): Promise<Asked> {
  let text = '';
  for await (const part of request as AsyncIterable<Buffer>) text += part.toString();
  const body = JSON.parse(text) as Record<string, unknown>;
  const messages = body['messages'] as { content: string }[];
  return { body, headers: request.headers, question: messages.at(-1)?.content ?? '' };
}

async function play(response: ServerResponse, meeting: Meeting): Promise<void> {
  if (meeting.kind === 'status') {
    if (meeting.retryAfter !== undefined) response.setHeader('retry-after', meeting.retryAfter);
    response.writeHead(meeting.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { message: `asked for ${meeting.status}` } }));
  } else if (meeting.kind === 'not-sse') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<html>a proxy’s page</html>');
  } else {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    await playStream(response, meeting);
  }
}

async function playStream(
  response: ServerResponse,
  meeting: Exclude<Meeting, { kind: 'status' | 'not-sse' }>,
): Promise<void> {
  switch (meeting.kind) {
    case 'answer':
      await playAnswer(response, meeting);
      return;
    case 'cut':
      for (let n = 0; n < meeting.after; n++) response.write(event({ content: 'x' }));
      await sleep(5);
      response.destroy();
      return;
    case 'unended':
      response.end(event({ content: 'x' }));
      return;
    case 'malformed':
      response.end(`${event({ content: 'x' })}data: {"choices": [{"delta": {"con\n\ndata: [DONE]\n\n`);
      return;
    case 'error-event':
      response.end(`data: ${JSON.stringify({ error: { message: 'the engine died' } })}\n\ndata: [DONE]\n\n`);
      return;
    case 'silent':
      response.write(event({ content: 'x' }));
      return;
    case 'endless':
      while (!response.destroyed) {
        response.write(event({ content: 'word ' }));
        await sleep(0);
      }
  }
}

async function playAnswer(
  response: ServerResponse,
  { reasoning = '', content = '', finish = 'stop', usage = true, pieceMs = 0 }: Meeting & { kind: 'answer' },
): Promise<void> {
  for (const piece of reasoning) response.write(event({ reasoning_content: piece }));
  for (const piece of content) {
    if (pieceMs > 0) await sleep(pieceMs);
    response.write(event({ content: piece }));
  }
  response.write(event({}, finish));
  const tokens = reasoning.length + content.length + 1;
  const counts = { prompt_tokens: 5, completion_tokens: tokens, total_tokens: tokens + 5 };
  if (usage) response.write(`data: ${JSON.stringify({ choices: [], usage: counts })}\n\n`);
  response.end('data: [DONE]\n\n');
}

function event(delta: object, finish: string | null = null): string {
  return `data: ${JSON.stringify({ id: 'x', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
}
