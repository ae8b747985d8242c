import { startServer } from '../../evaluation/server/openai-server.ts';

/** A real server as a command: `serve-onnx.ts FOLDER PORT ...`; what follows is for its command line to show. */
const [folder = '', port = '0'] = process.argv.slice(2);
await startServer({
  ...{ folder, name: 'model', digest: `sha256:${'a'.repeat(64)}`, host: '127.0.0.1', port: Number(port) },
  ...{ threads: 1, batchSize: 4, queueSize: 8, maxNewTokens: 64 },
});
