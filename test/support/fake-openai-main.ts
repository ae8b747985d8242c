import { startFakeServer } from './fake-openai.ts';

/** The fake server as a command: `fake-openai-main.ts PORT`. Says four to every question. */
await startFakeServer(
  () => ({ kind: 'answer', reasoning: 'easy', content: 'four' }),
  Number(process.argv[2]),
);
