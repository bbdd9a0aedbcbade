"""Who may ask: token, cookie, other sites; and what every answer carries."""

import socket

import pytest

from data_pipeline.cli.command import UserError
from mlops import serve
from mlops.config import ServeConfig
from mlops.serving.access import token_of
from mlops.serving.store import Store
from tests.faults.processes import free_port
from tests.mlops.serving.in_process import Client, running

TOKEN = "a token of 24 characters"


class Idle:
    """`Models` that hold one version and are given nothing to do."""

    current, problem = "models:/sttn/7", ""

    async def keep(self, models):
        """Follow nothing."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service"), Idle(), token=TOKEN) as (client, _):
        yield client


CLOSED = [
    ("POST", "/v1/jobs"), ("GET", "/v1/jobs/1"), ("DELETE", "/v1/jobs/1"),
    ("GET", "/v1/jobs/1/result"), ("POST", "/v1/videos"), ("GET", "/v1/videos/1/frames/0"),
    ("PUT", "/v1/videos/1/anchors/0"), ("POST", "/v1/videos/1/tracking"), ("GET", "/v1/service"),
    ("GET", "/metrics"), ("GET", "/no-such-place"), ("GET", "//v1/service"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("sent", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_without_the_token_nothing_is_answered(client, method, path, sent):
    answer = Client(client.base)(method, path, headers={"Authorization": sent})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer TOKEN" in answer.json()["detail"]


def test_with_the_token_all_is_answered(client):
    assert client("GET", "/v1/service").json()["model"] == "models:/sttn/7"
    assert client("GET", "/v1/jobs/1").status_code == 404
    assert 'sttn_model_info{uri="models:/sttn/7"} 1.0' in client("GET", "/metrics").text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/page/main.js"])
def test_the_page_and_health_need_no_token(client, path):
    answer = Client(client.base)("GET", path)
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "models:/sttn/7"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_the_page_trades_the_token_for_a_cookie(client):
    browser = Client(client.base)
    assert browser("POST", "/v1/session", json={"token": "wrong"}).status_code == 401
    assert browser("GET", "/v1/service").status_code == 401
    answer = browser("POST", "/v1/session", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser("GET", "/v1/service").status_code == 200
    browser.session.cookies.set("sttn_session", "0" * 64)
    assert Client(client.base)("GET", "/v1/service").status_code == 401


def test_pages_of_other_sites_and_other_names_are_refused(client):
    answer = client("POST", "/v1/jobs", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    answer = client("GET", "/v1/service", headers={"Origin": "null"})
    assert answer.status_code == 403
    answer = client("GET", "/v1/service", headers={"Host": "evil.example:8000"})
    assert answer.status_code == 403
    answer = client("GET", "/v1/service", headers={"Origin": client.base})
    assert answer.status_code == 200


@pytest.mark.parametrize("flags", [[], ["--token-file", "short"], ["--token-file", "nowhere"]])
def test_beyond_loopback_a_good_token_is_needed(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STTN_SERVE_TOKEN", raising=False)
    (tmp_path / "short").write_text("secret\n")
    assert serve.main(["--host", "0.0.0.0", "--model", "starter", *flags]) == 2
    said = capsys.readouterr().err
    assert ("give --token-file, or set STTN_SERVE_TOKEN" in said) == (not flags)
    assert ("has 6 characters: give 16" in said) == ("short" in flags)
    assert ("cannot be read" in said) == ("nowhere" in flags)


def test_what_cannot_be_served_is_refused_at_once(store, tmp_path, capsys):
    flags = ["--tracking-uri", store, "--folder", str(tmp_path / "f")]
    assert serve.main([*flags, "--model", "models:/sttn@best"]) == 2
    assert "models:/sttn@best is not in the registry" in capsys.readouterr().err
    flags = ["--model", "starter", "--folder", str(tmp_path / "f")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert serve.main([*flags, "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot be listened on (Address already in use): give" in capsys.readouterr().err
    used = Store(tmp_path / "f", 60)
    assert serve.main([*flags, "--port", str(free_port())]) == 2
    assert "is used by another service: give another one" in capsys.readouterr().err
    used.close()
    assert serve.main([*flags, "--min-replicas", "3"]) == 2
    assert "--max-replicas is 1, --min-replicas 3" in capsys.readouterr().err


def test_the_token_comes_from_its_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("STTN_SERVE_TOKEN", raising=False)
    assert token_of(ServeConfig()) == ""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert token_of(ServeConfig(host="0.0.0.0", token_file=tmp_path / "token")) == TOKEN
    monkeypatch.setenv("STTN_SERVE_TOKEN", TOKEN * 2)
    assert token_of(ServeConfig(host="0.0.0.0")) == TOKEN * 2
    (tmp_path / "token").write_text("")
    with pytest.raises(UserError, match="has 0 characters"):
        token_of(ServeConfig(token_file=tmp_path / "token"))
