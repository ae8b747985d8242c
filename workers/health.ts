import { createServer } from 'node:http';

/**
 * `/livez` and `/readyz` on FRETSAW_HEALTH_PORT, for probes: alive while this process answers, ready while its workers ask for work.
 * Nothing where no port is named.
 */
export function serveHealth(env: NodeJS.ProcessEnv, isReady: () => boolean): { close(): void } {
  const port = Number(env['FRETSAW_HEALTH_PORT'] || 0);
  if (port === 0) return { close: () => undefined };
  const server = createServer(({ url }, response) => {
    const isWell = url === '/livez' || (url === '/readyz' && isReady());
    response.writeHead(isWell ? 200 : url === '/readyz' ? 503 : 404).end(isWell ? 'ok\n' : 'not ready\n');
  });
  server.listen(port);
  return {
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
