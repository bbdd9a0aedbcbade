"""Servers at AWS_ENDPOINT_URL that are not S3, and refusals of S3 with unclear reasons.

Each case is a server on loopback with one fixed answer, requested by commands.
"""

import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest

from data_pipeline import run
from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake, s3

HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
PAGE = "<!doctype html><html><br>Welcome</html>"
XHTML = "<html><body>Welcome</body></html>"


def no(status, code, message="words", more="", **headers):
    """An error response of S3."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return status, {"Content-Type": "application/xml", **headers}, body


def at(**later):
    """A clock that is ahead by this much."""
    return lambda: format_datetime(datetime.now(UTC) + timedelta(**later), usegmt=True)


@contextmanager
def answering(answer):
    """A server that answers (status, headers, body); gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self.command, self.path)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value() if callable(value) else value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        # http.server calls these.
        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = reply  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def ask_with(monkeypatch, tmp_path):
    """Use S3 with these variables; a failure does not take the time of all retries."""
    monkeypatch.setattr(s3, "UNKNOWN_ENDPOINT_TIMEOUT_S", 0.6)
    monkeypatch.setattr(s3, "_known", set())
    alone = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }

    def ask(ask, **variables):
        for name, value in {**alone, **variables}.items():
            monkeypatch.setenv(name, value)
        s3.client().clear_instance_cache()
        start = time.monotonic()
        try:
            return ask()
        finally:
            # Far from the time of all retries, however busy the machine.
            assert time.monotonic() - start < s3.RETRY_TIMEOUT_S / 2
            s3.client().clear_instance_cache()

    return ask


NO_S3 = r"the server is not S3 \({}\): check AWS_ENDPOINT_URL \(http://127.0.0.1:\d+\)"
FOREIGN = {
    "a page for everything": (lambda *_: (200, HTML, PAGE), NO_S3.format("200 text/html.*")),
    "a page that is XML": (lambda *_: (200, HTML, XHTML), NO_S3.format("200 text/html.*")),
    "JSON for everything": (lambda *_: (200, JSON, "{}"), NO_S3.format("200 application/json")),
    "nothing there, a page": (lambda *_: (404, HTML, PAGE), NO_S3.format("404 text/html.*")),
    "nothing there, JSON": (lambda *_: (404, JSON, "{}"), NO_S3.format("404 application/json")),
    "nothing there": (lambda *_: (404, {}, ""), NO_S3.format("404")),
    "a page to log in": (lambda *_: (401, HTML, PAGE), NO_S3.format("401 text/html.*")),
    "a page that forbids": (lambda *_: (403, HTML, PAGE), NO_S3.format("403 text/html.*")),
    "http to a port of https": (lambda *_: (400, HTML, XHTML), NO_S3.format("400 text/html.*")),
    "a redirection to log in": (
        lambda _, path: (200, HTML, PAGE) if path == "/in" else (302, {"Location": "/in"}, ""),
        NO_S3.format("200 text/html.*"),
    ),
}
SKEW = "RequestTimeTooSkewed"
REGION = {"x-amz-bucket-region": "eu-west-1"}
SAYS_NO = {
    "skew": (no(403, SKEW), r"clock of this machine differs by more than 15 min .*: set it"),
    "clock behind": (no(403, SKEW, Date=at(minutes=61)), "is 6[01] min behind that of S3"),
    "clock ahead": (no(403, "AccessDenied", Date=at(hours=-2)), "is 120 min ahead of that of S3"),
    "a little skew": (no(403, "AccessDenied", Date=at(minutes=-5)), "refuses these credentials"),
    "other region": (
        no(301, "PermanentRedirect", **REGION),
        "the bucket is in another region .*: set AWS_DEFAULT_REGION=eu-west-1$",
    ),
    "other region, signed": (
        no(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"),
        "the bucket is in another region .*: set AWS_DEFAULT_REGION=eu-west-1$",
    ),
    "expired": (no(400, "ExpiredToken"), "refuses the session token .*: get new credentials"),
    "not a token": (no(400, "InvalidToken"), "refuses the session token .*AWS_SESSION_TOKEN"),
    "wrong key": (no(403, "InvalidAccessKeyId"), "credentials .*: check AWS_ACCESS_KEY_ID"),
    "signature": (no(403, "SignatureDoesNotMatch"), "credentials .*and AWS_SECRET_ACCESS_KEY"),
    "not done here": (
        no(501, "NotImplemented", "A header you provided"),
        r"cannot do what is needed \(NotImplemented.*conditional writes \(If-None-Match\)",
    ),
}
# Commands, and the function behind every write.
ASKS = {
    "show": lambda: run.main(["show", "s3://bucket/v1"]),
    "list": lambda: run.main(["list", "s3://bucket"]),
    "verify": lambda: run.main(["verify", "s3://bucket/v1"]),
    "create": lambda: lake.create_bytes("s3://bucket/v1/manifest.json", b"{}"),
}


def refused_with(capsys, ask, words):
    """Check the one-line user error of one of `ASKS`."""
    if ask != "create":
        assert ASKS[ask]() == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("error: s3://bucket")
    else:
        with pytest.raises(UserError) as found:
            ASKS[ask]()
        said = str(found.value)
    assert re.search(words, said), said


@pytest.mark.parametrize("case", FOREIGN)
def test_a_server_that_is_not_s3_is_named(ask_with, capsys, case):
    answer, words = FOREIGN[case]
    with answering(answer) as url:
        ask_with(lambda: refused_with(capsys, "show", words), AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize("ask", ["list", "verify", "create"])
@pytest.mark.parametrize("case", ["a page that is XML", "nothing there, JSON", "nothing there"])
def test_a_server_that_is_not_s3_is_refused_by_list_verify_and_create(ask_with, capsys, case, ask):
    answer, words = FOREIGN[case]
    with answering(answer) as url:
        ask_with(lambda: refused_with(capsys, ask, words), AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize("case", ["a page for everything", "a redirection to log in"])
def test_an_endpoint_that_never_answered_as_s3_is_retried_briefly(ask_with, case):
    def create():
        words = "not as S3 does: check AWS_ENDPOINT_URL"
        with pytest.raises(lake.TransientError, match=words):
            ASKS["create"]()

    with answering(FOREIGN[case][0]) as url:
        ask_with(create, AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize("ask", ["show", "create"])
@pytest.mark.parametrize("case", SAYS_NO)
def test_refusals_of_s3_are_explained(ask_with, capsys, case, ask):
    answer, words = SAYS_NO[case]
    with answering(lambda *_: answer) as url:
        ask_with(lambda: refused_with(capsys, ask, words), AWS_ENDPOINT_URL=url)


def test_the_missing_permission_is_named(ask_with):
    def each():
        for ask, right in (
            (lake.exists, "s3:GetObject"),
            (lake.read_bytes, "s3:GetObject"),
            (lake.list_files, "s3:ListBucket"),
            (lambda uri: lake.create_bytes(uri, b""), "s3:PutObject"),
            (lake.remove, "s3:DeleteObject"),
        ):
            with pytest.raises(UserError, match=f"these credentials {right} here .AccessDenied: "):
                ask("s3://bucket/a")

    with answering(lambda *_: no(403, "AccessDenied")) as url:
        ask_with(each, AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_DEFAULT_REGION": "eu central 1"}, "region_name 'eu central 1'"),
        ({"AWS_ENDPOINT_URL": "http://localhost:99999"}, "http://localhost:99999"),
        ({"AWS_ENDPOINT_URL": "ftp://127.0.0.1:9"}, "AWS_ENDPOINT_URL is as http://host:port"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9/x?y"}, "AWS_ENDPOINT_URL is as http://host:port"),
        ({"AWS_ENDPOINT_URL": "http://[::1"}, "AWS_ENDPOINT_URL is as http://host:port"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9"}, "AWS_ENDPOINT_URL is as http://host:port"),
        ({"AWS_ACCESS_KEY_ID": "test\n"}, "the other AWS_ variables"),
        ({"AWS_CA_BUNDLE": "/nowhere"}, "No such file"),
    ],
)
def test_invalid_s3_settings_are_not_retried(ask_with, capsys, variables, words):
    with answering(lambda *_: (200, HTML, PAGE)) as url:
        given = {"AWS_ENDPOINT_URL": url, **variables}
        ask_with(lambda: refused_with(capsys, "show", words), **given)


def test_https_to_an_http_port_is_named(ask_with, capsys):
    with answering(lambda *_: (200, HTML, PAGE)) as url:
        words = "no safe connection to S3 .*: check http or https in AWS_ENDPOINT_URL"
        secure = url.replace("http:", "https:")
        ask_with(lambda: refused_with(capsys, "show", words), AWS_ENDPOINT_URL=secure)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://no-such-host.invalid:9000", "host no-such-host.invalid:9000 .*: check AWS_ENDPOI"),
        ("http://127.0.0.1:9", "Cannot connect to host 127.0.0.1:9 .*: check AWS_ENDPOINT_URL"),
    ],
)
def test_an_unreachable_endpoint_is_named(ask_with, capsys, url, words):
    def show():
        assert ASKS["show"]() == 1
        (said,) = capsys.readouterr().err.splitlines()
        assert re.search(words, said), said

    ask_with(show, AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize("known", [set(), {"http://127.0.0.1:9"}])
def test_a_store_that_answered_before_is_waited_for(ask_with, monkeypatch, known):
    """An endpoint that worked and is unreachable now is an outage."""
    waited = [0.0]
    clock = SimpleNamespace(
        monotonic=lambda: waited[0], sleep=lambda seconds: waited.append(waited.pop() + seconds)
    )
    monkeypatch.setattr(s3, "time", clock)
    monkeypatch.setattr(s3, "_known", known)

    def show():
        with pytest.raises(lake.TransientError):
            ASKS["create"]()

    ask_with(show, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    if known:
        assert s3.RETRY_TIMEOUT_S / 2 < waited[0] < s3.RETRY_TIMEOUT_S
    else:
        assert waited[0] < s3.UNKNOWN_ENDPOINT_TIMEOUT_S
