"""LocalBucket on the loopback; on request with If-Match on PUT, which it lacks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import localbucket


@contextmanager
def serve_bucket(folder, *, knows_if_match=True, around_put=None):
    """Serve the buckets in a folder; gives the endpoint and the PUTs with their headers.

    `around_put(number, edge)`, edge "before" or "after" the bytes are kept, may return True: then
    the client is gone, nothing more is done for it, and it is answered nothing.
    """
    puts: list[tuple[str, dict[str, str]]] = []
    lock = threading.Lock()

    class Handler(localbucket.S3Handler):
        data_root = folder.resolve()
        disable_nagle_algorithm = True

        def do_PUT(self):  # noqa: N802 - http.server calls it so
            puts.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            number = len(puts) - 1
            if around_put is not None and around_put(number, "before"):
                self.close_connection = True
                return
            self._put_conditionally()

        def _send(self, *arguments, **options):
            if self.command == "PUT" and around_put and around_put(len(puts) - 1, "after"):
                self.close_connection = True
                return
            super()._send(*arguments, **options)

        def _put_conditionally(self):
            wanted = self.headers.get("If-Match")
            if not (knows_if_match and wanted):
                super().do_PUT()
                return
            with lock:
                target = folder / self.path.lstrip("/").partition("?")[0]
                if target.is_file() and wanted.strip('"') == localbucket.object_etag(target):
                    super().do_PUT()
                    return
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send_error(localbucket.S3Error(412, "PreconditionFailed", "changed since"))

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", puts
        finally:
            server.shutdown()
            thread.join()
