"""The part of an OpenAI-compatible server that a rollout needs, before a real model."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fretsaw_engine.methods.generate.decode import Sampling, decode


class RolloutServer(ThreadingHTTPServer):
    """`digest`: what it says that it has loaded. `token_ids`: whether it tells ids. `failures`:
    requests that it is too busy for."""

    def __init__(self, model: Any, digest: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.digest, self.token_ids, self.failures = model, digest, True, 0
        self.lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> RolloutServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: RolloutServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        digest = self.server.digest
        card = (
            {"id": "served"} if digest is None else {"id": "served", "fretsaw": {"digest": digest}}
        )
        self._reply(200, {"data": [card]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            if self.server.failures:
                self.server.failures -= 1
                return self._reply(503, {"error": "busy"})
            self.server.asked.append(asked)
            sampling = Sampling(
                max_new_tokens=asked["max_tokens"], temperature=asked["temperature"]
            )
            seeds, stop = [asked["seed"]], asked["stop_token_ids"]
            (answer,) = decode(self.server.model, [asked["prompt"]], seeds, sampling, stop, 0)
        choice: dict[str, Any] = {"text": "", "logprobs": {"token_logprobs": answer.log_probs}}
        if self.server.token_ids:
            choice["token_ids"] = answer.ids
        return self._reply(200, {"choices": [choice]})

    def _reply(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
