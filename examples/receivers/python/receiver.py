"""Renders the invoices of examples/catalog.toml: a worker that jobgate pushes its jobs to.

RENDER_SECRET=whsec_.. python3 receiver.py

PORT (9000) is where it listens; RENDER_SECONDS (0) is how long an invoice takes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE_S = 5 * 60
"""How old a request may be: an older one may have been recorded and sent again by somebody."""
RENDERING_MAX = 8
"""Invoices at once; further ones are asked to come later."""
KEYS_MAX = 10_000
"""Jobs that are remembered. A service that must not lose them keeps them in its database, written
in the same transaction as what the job does there."""
BODY_BYTES_MAX = 1_048_576
"""jobgate takes no larger payload."""

Answer = tuple[int, Any]


class Signatures:
    """Checks the headers that Standard Webhooks names."""

    def __init__(self, secret: str) -> None:
        kind, _, text = secret.partition("_")
        if kind != "whsec" or not text:
            raise SystemExit("RENDER_SECRET must be what jobgate signs with: whsec_ and base64")
        self._key = base64.b64decode(text, validate=True)

    def are_good(self, headers: Any, body: bytes) -> bool:
        job_id = headers.get("webhook-id", "")
        timestamp = headers.get("webhook-timestamp", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
            return False
        signed = f"{job_id}.{timestamp}.".encode() + body
        expected = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        given = headers.get("webhook-signature", "").split(" ")
        # Several, while one secret is being replaced by another.
        return any(hmac.compare_digest(f"v1,{expected}".encode(), s.encode()) for s in given)


class Jobs:
    """What has become of each job, by its Idempotency-Key: each is done once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._running: set[str] = set()

    def once(self, key: str, work: Any) -> tuple[Answer, dict[str, str]]:
        """Does the work, unless it was done before or is being done."""
        with self._lock:
            if key in self._answers:
                return self._answers[key], {}
            if key in self._running:
                return (409, {"error": "this job still runs"}), {}
            if len(self._running) >= RENDERING_MAX:
                return (503, {"error": "too many invoices at once"}), {"Retry-After": "1"}
            self._running.add(key)
        answer: Answer | None = None
        try:
            answer = work()
        finally:
            # After an exception the next attempt begins anew.
            with self._lock:
                self._running.discard(key)
                # What was refused is not remembered: an operator may mend the payload, which
                # then comes under the same key.
                if answer is not None and answer[0] == 200:
                    self._answers[key] = answer
                    while len(self._answers) > KEYS_MAX:
                        self._answers.popitem(last=False)
        return answer, {}


def render(invoice: dict[str, Any], key: str) -> Answer:
    """The work itself."""
    if not invoice["lines"]:
        # It will never work: jobgate makes it a dead letter with this answer in it.
        return 422, {"error": "an invoice needs a line"}
    time.sleep(float(os.environ.get("RENDER_SECONDS", "0")))
    print(f"rendered {invoice['account_id']} {invoice['invoice_id']} {key}", flush=True)
    return 200, {"pages": 1 + len(invoice["lines"]) // 40}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    signatures: Signatures
    jobs = Jobs()

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer((413, {"error": "a body with a length of at most 1 MiB"}), {})
        body = self.rfile.read(int(length))
        key = self.headers.get("idempotency-key", "").strip('"')
        if self.path != "/render":
            return self.answer((404, {"error": "there is only /render"}), {})
        # The id is signed, the Idempotency-Key is not: both are the job's id.
        if not self.signatures.are_good(self.headers, body) or key != self.headers["webhook-id"]:
            return self.answer((401, {"error": "not signed with the secret, or too old"}), {})
        try:
            answer, headers = self.jobs.once(key, lambda: render(json.loads(body), key))
        except Exception as error:  # a fault of this service: jobgate tries again
            answer, headers = (500, {"error": type(error).__name__}), {}
        try:
            self.answer(answer, headers)
        except ConnectionError:  # nobody waits any more: jobgate will ask again
            self.close_connection = True

    def answer(self, answer: Answer, headers: dict[str, str]) -> None:
        status, said = answer
        body = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *request: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # somebody hung up
            super().handle_error(*request)


def main() -> None:
    Handler.signatures = Signatures(os.environ.get("RENDER_SECRET", ""))
    server = Server(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}/render", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
