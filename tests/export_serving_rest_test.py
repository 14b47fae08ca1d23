"""Answers over REST that TF Serving itself would not give, from a server of Python."""

import contextlib
import http.server
import threading

import pytest

from export.served_model import Asked
from export.serving_rest import RestModel


@contextlib.contextmanager
def answering(status, content=b"", length=None, **headers):
    """A server that always gives this; yields its address and the paths asked for."""
    paths, done = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", length or len(content))
            self.end_headers()
            self.wfile.write(content)
            if length is not None:
                done.wait(60)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            done.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "status, content, error",
    [
        (200, b"{}", "UNKNOWN: .*/metadata gives JSON without 'metadata'"),
        (200, b"[]", "gives JSON without 'metadata', so it is no TF Serving"),
        (500, b'["broken"]', r'INTERNAL: \["broken"\]'),
        (502, b'{"message": "no host"}', 'INTERNAL: {"message": "no host"}'),
    ],
)
def test_another_program_at_the_address_is_told(status, content, error):
    with (
        answering(status, content) as (address, _),
        pytest.raises(OSError, match=f"model 'name' at .* refuses .*{error}"),
    ):
        RestModel(Asked(address, "name"))


@pytest.mark.parametrize("status", [413, 429])
def test_a_refusal_is_not_asked_again_even_if_it_names_a_time(status):
    with answering(status, b'{"error": "slowly"}', Retry_After="1") as (address, paths):
        with pytest.raises(OSError, match="refuses the request. It says: .*slowly"):
            RestModel(Asked(address, "name"))
        assert len(paths) == 1


def test_an_answer_that_stops_in_its_middle_is_given_up():
    with answering(200, b"{", length=100) as (address, paths):
        with pytest.raises(TimeoutError, match=r"no answer within --timeout_s=0\.2"):
            RestModel(Asked(address, "name", timeout_s=0.2))
        assert len(paths) == 1
