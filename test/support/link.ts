import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { pipeline, Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/** The way to a TCP service on this host: what passes is not touched, but it can be cut, hung or slowed. */
export class Link {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;
  #delayMs = 0;
  #hung: { until: Promise<void>; end: () => void } | undefined;

  /** `target`: the port that the service has now, asked for each connection; undefined while it has none. */
  private constructor(target: () => number | undefined) {
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      const port = target();
      this.#hold(near);
      if (this.#isCut || port === undefined) near.resetAndDestroy();
      else this.#join(near, connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    });
  }

  static async open(target: () => number | undefined): Promise<Link> {
    const link = new Link(target);
    await new Promise<void>((resolve) => link.#server.listen(0, '127.0.0.1', resolve));
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Every connection is reset, and every new one. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Connections stay, and nothing passes. */
  hang(): void {
    let end = (): void => undefined;
    const until = new Promise<void>((resolve) => (end = resolve));
    this.#hung ??= { until, end };
  }

  /** Every piece of at most 64 KiB takes so much longer. */
  slow(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** As it was at first. */
  mend(): void {
    this.#isCut = false;
    this.#delayMs = 0;
    this.#hung?.end();
    this.#hung = undefined;
  }

  async close(): Promise<void> {
    this.mend();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #join(near: Socket, far: Socket): void {
    this.#hold(far);
    pipeline(near, this.#gate(), far, () => undefined);
    pipeline(far, this.#gate(), near, () => undefined);
  }

  #gate(): Transform {
    return new Transform({
      transform: (piece: Buffer, _encoding, pass) => {
        void this.#passage().then(() => {
          pass(null, piece);
        });
      },
    });
  }

  async #passage(): Promise<void> {
    if (this.#delayMs > 0) await sleep(this.#delayMs);
    await this.#hung?.until;
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
