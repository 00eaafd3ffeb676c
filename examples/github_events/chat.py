"""A chat that is not always well, to try the example with: ``python chat.py``.

It refuses releases, is broken for forks, and busy or failing at the first try of issues and stars.
"""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8065
REFUSED, BROKEN, BUSY, FAILING = "github.release.", "github.fork", "github.issues.", "github.star."


class Chat(ThreadingHTTPServer):
    """Listens on the loopback address.

    :param port: 0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Telling)
        self.tries: Counter[str] = Counter()
        """How often it was told, or nearly, of the event of an id."""
        self.told: set[str] = set()
        """The ids of the events that it took."""
        self._lock = threading.Lock()

    def answer(self, kind: str, event_id: str) -> int:
        """Return the status for an event."""
        with self._lock:
            self.tries[event_id] += 1
            first = self.tries[event_id] == 1
            if kind.startswith(REFUSED):
                return 400
            if kind.startswith(BROKEN) or (kind.startswith(FAILING) and first):
                return 503
            if kind.startswith(BUSY) and first:
                return 429
            self.told.add(event_id)
            return 204


class _Telling(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        self.send_response(self.server.answer(text.split()[0], self.headers["Idempotency-Key"]))
        self.send_header("Retry-After", "0.1")
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.log_message("%s", text)


if __name__ == "__main__":
    with Chat(PORT) as chat:
        chat.serve_forever()
