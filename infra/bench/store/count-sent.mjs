// A port of this machine that leads to another, and a file with the bytes that clients have sent through it.
//   node infra/bench/store/count-sent.mjs PORT TO_PORT FILE
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setInterval } from 'node:timers';

const [port, toPort, file] = process.argv.slice(2);
let sent = 0;
const server = createServer((client) => {
  const service = connect(Number(toPort), '127.0.0.1');
  client.on('data', (chunk) => {
    sent += chunk.length;
  });
  client.pipe(service).pipe(client);
  for (const side of [client, service]) {
    side.on('error', () => {
      client.destroy();
      service.destroy();
    });
  }
});
setInterval(() => writeFileSync(file, String(sent)), 100);
server.listen(Number(port), '127.0.0.1', () => writeFileSync(file, '0'));
