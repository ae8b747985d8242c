import { liveClients } from './clients.ts';
import { stopServer } from './embedded-server.ts';
import { withLock } from './home-lock.ts';
import type { HomePaths } from './home.ts';

export interface Watched {
  isBusy(): boolean;
  stop(): void;
  isEmbedded: boolean;
}

const lookMs = 5000;
const idleMs = 30_000;

/**
 * A command line that ends well stops its worker. One that was killed cannot: so a worker that no
 * living command line uses finishes what is in flight, then stops by itself, and the server with it.
 */
export function watchClients(paths: HomePaths, watched: Watched): { close(): void } {
  let usedAt = Date.now();
  const timer = setInterval(() => {
    if (liveClients(paths.clients).length > 0 || watched.isBusy()) usedAt = Date.now();
    if (Date.now() - usedAt < idleMs) return;
    clearInterval(timer);
    void withLock(paths.root, async () => {
      if (liveClients(paths.clients).length > 0) return;
      watched.stop();
      if (watched.isEmbedded) await stopServer(paths.temporal);
    });
  }, lookMs);
  return {
    close: () => {
      clearInterval(timer);
    },
  };
}
