"""What a person types to reach a server, right and slightly wrong, and the two lines that they read."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.errors import KfpMagicsError, LoginError
from kfp_magics.settings import Settings
from tests.ipython import execute, ipython, seen
from tests.kfp.doors import Oidc, Proxy
from tests.kfp.server import Fault, KfpServer

SECRET = "s3cret-and-l0ng"
GETPASS = 'Type it where nothing keeps it: import os, getpass; os.environ["MINE"] = getpass.getpass()'


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.chdir(tmp_path)
    with ipython() as made:
        yield made


@pytest.fixture
def told(shell: InteractiveShell) -> Callable[[str], list[str]]:
    """The lines below ``%kfp_connect …``, or those of its refusal."""

    def ask(words: str) -> list[str]:
        try:
            return repr(execute(shell, f"%kfp_connect {words}")[0]).splitlines()
        except KfpMagicsError as error:
            lines = error._render_traceback_()
        assert SECRET not in "".join(lines)
        return lines

    return ask


def certificate(folder: Path, name: str) -> None:
    """Writes ``ca.pem``, and with it ``server.pem`` for a name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")


def test_a_variable_that_is_not_set_or_empty_is_asked_for_where_nothing_keeps_it(server, told, monkeypatch) -> None:
    server.tokens = {SECRET}
    assert told(f"{server.url} --token-env MINE") == ["The variable MINE of --token-env is not set here.", GETPASS]
    monkeypatch.setenv("MINE", " \n")
    assert told(f"{server.url} --token-env MINE") == ["The variable MINE of --token-env is empty here.", GETPASS]
    monkeypatch.setenv("MINE", SECRET)
    card = told(f"{server.url} --token-env MINE")
    assert card[2:] == [
        "  login      token of $MINE",
        "  note       the panel and the command line read $MINE from their own environment; "
        "--token-file serves them all",
    ]


@pytest.mark.parametrize("content", [f"{SECRET}\n", f"\ufeff{SECRET}\r\n", f"Bearer {SECRET}\n"], ids=repr)
def test_a_token_is_read_from_a_file_as_editors_and_clipboards_leave_it(server, told, tmp_path, content) -> None:
    server.tokens = {SECRET}
    (tmp_path / "token").write_text(content, encoding="utf-8")
    assert told(f"{server.url} --token-file token")[2] == f"  login      token of {tmp_path / 'token'}"


def test_a_file_is_found_from_every_folder(server, told, tmp_path, settings, monkeypatch) -> None:
    certificate(tmp_path, "localhost")
    for name in ("token", "cookies"):
        (tmp_path / name).write_text("a=b", encoding="utf-8")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    told(f"{server.url} --token-file ../token --ca-file ../ca.pem --name a")
    told(f"{server.url} --cookie-file ../cookies --name b")
    monkeypatch.setenv("HOME", str(tmp_path))
    told(f"{server.url} --token-file ~/token --name c")
    known = Connections(settings.home_path).all()
    assert (known["a"].token_file, known["a"].ca_file) == (str(tmp_path / "token"), str(tmp_path / "ca.pem"))
    assert known["b"].cookie_file == str(tmp_path / "cookies")
    assert known["c"].token_file == "~/token"


def test_a_token_says_itself_that_it_has_expired(server, told, tmp_path) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_700_000_000}).encode()).decode().rstrip("=")
    (tmp_path / "token").write_text(f"e30.{claims}.{SECRET}", encoding="utf-8")
    server.tokens = {"another"}
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_700_000_000))
    assert told(f"{server.url} --token-file token") == [
        f"The token of {tmp_path / 'token'} expired at {since} (401 of {server.url}).",
        f"Write a new token to {tmp_path / 'token'}; it is read anew each time.",
    ]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("--token-file nowhere", ["The file '{}/nowhere' of --token-file cannot be read: No such", "Write a token"]),
        ("--token-file .", ["The file '{}' of --token-file cannot be read: Is a directory", "Write a token"]),
        ("--token-file void", ["The file '{}/void' of --token-file is empty.", "Write a token to it."]),
        ("--token-file two", ["What is in the file '{}/two' is more than one line", "--token-file wants it as it is"]),
        (
            "--token-file eyJh." + SECRET,
            ["--token-file takes the path of a file, not what", "Write --token-file PATH."],
        ),
        (
            "--cookie-file a=" + SECRET,
            ["--cookie-file takes the path of a file, not what", "Write --cookie-file PATH."],
        ),
        (
            "--cookie-file void",
            ["The file '{}/void' of --cookie-file is empty.", "Save the cookies of a browser to it."],
        ),
        ("--cookie-file bare", ["The file '{}/bare' holds no cookies: they have names.", "Save them as name=value"]),
        ("--cookie-file tabs", ["The file '{}/tabs' is no cookies.txt.", "Its first line is: # Netscape HTTP"]),
        ("--ca-file nowhere", ["The file '{}/nowhere' of --ca-file cannot be read: No such", "Look at its path."]),
        ("--ca-file two", ["The file '{}/two' of --ca-file holds no certificates.", "It is a text with -----BEGIN"]),
        ("--service-account-token", ["There is no service account token at {}/pod.", "Mount one into the pod (aud"]),
        ("--forget", ["No connection is called '", "%kfp_connect https://host, or"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_two_lines(server, told, tmp_path, monkeypatch, words, lines) -> None:
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "pod"))
    for name, content in {"void": "\n", "two": "a\nb\n", "bare": SECRET, "tabs": f"a\tb\t{SECRET}"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    answer = told(f"{server.url} {words}")
    assert [line.startswith(start.format(tmp_path)) for line, start in zip(answer, lines, strict=True)] == [True] * 2
    assert server.requests == []
    assert not (tmp_path / "home" / "connections.json").exists()


@pytest.mark.parametrize("dex", [False, True], ids=["no login", "dex"])
def test_who_is_not_trusted_and_who_is_not_there_is_told_alike_for_every_login(
    told, tmp_path, monkeypatch, dex
) -> None:
    monkeypatch.setenv("ME", "me")
    monkeypatch.setenv("PASS", SECRET)
    login = " --dex-user-env ME --dex-password-env PASS" if dex else ""
    certificate(tmp_path, "localhost")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    server = KfpServer(str(tmp_path / "server.pem"))
    server.sessions = set() if dex else None
    server.dex = {"me": SECRET}
    plain = server.url.replace("https", "http")
    cut = f"The login at {plain} was cut off." if dex else f"{plain} cut the connection."
    by_number = server.url.replace("localhost", "127.0.0.1")
    try:
        assert told(server.url + login) == [
            f"The certificate of {server.url} is signed by nobody that is trusted here.",
            "If it is your own, name the file with it: --ca-file PATH.",
        ]
        assert told(f"{server.url} --ca-file other.pem{login}") == [
            f"The certificate of {server.url} is not signed by one of {tmp_path / 'other.pem'}.",
            "Ask who runs the server for the certificate of its authority: --ca-file PATH.",
        ]
        assert told(f"{by_number} --ca-file ca.pem{login}") == [
            f"The certificate of {by_number} is for another name than 127.0.0.1.",
            "Connect with the name that it is for.",
        ]
        assert told(f"{server.url} --ca-file nowhere.pem{login}")[1] == "Look at its path."
        assert told(plain + login) == [cut, f"If it speaks TLS: %kfp_connect {server.url}"]
        assert told(f"{server.url} --ca-file ca.pem{login}")[0].startswith("Runs go to localhost:")
    finally:
        server.close()
    assert told(plain + login) == [f"{plain} cannot be reached.", "Is it up, and the port-forward or VPN running?"]
    assert told(f"http://nobody.invalid{login}")[0] == "There is no host 'nobody.invalid'."


def test_a_server_without_tls_is_told_with_the_address_to_type(server, told) -> None:
    wrong = server.url.replace("http", "https")
    assert told(wrong) == [f"{wrong} does not speak TLS.", f"%kfp_connect {server.url}"]


@pytest.mark.parametrize("way", ["local", "ldap"])
def test_a_login_by_oauth2_proxy_and_dex_with_several_ways_and_an_approval(server, told, monkeypatch, way) -> None:
    server.oidc, server.dex, server.multi_user = Oidc(way), {"me@example.org": SECRET}, True
    monkeypatch.setenv("ME", "me@example.org")
    monkeypatch.setenv("PASS", "wrong")
    line = f"{server.url} --namespace me --dex-user-env ME --dex-password-env PASS"
    assert told(line) == [f"Dex of {server.url} does not know this name and password.", "Look at $ME and $PASS."]
    monkeypatch.setenv("PASS", SECRET)
    card = told(line)
    assert card[1:4] == [
        f"  server     Kubeflow Pipelines 2.5.0 at {server.url}",
        "  login      Dex, as $ME (me@example.org)",
        "  namespace  me",
    ]
    assert len(server.oidc.sessions) == 1
    (Path.cwd() / "cookies").write_text("_oauth2_proxy_0=over; _oauth2_proxy_1=over", encoding="utf-8")
    assert told(f"{server.url} --namespace me --cookie-file cookies") == [
        f"{server.url} does not know who asks (401): Unauthorized; it was asked with cookies of {Path.cwd()}/cookies.",
        f"Log in with the browser, and save its cookies to {Path.cwd()}/cookies anew.",
    ]


def test_a_password_is_not_sent_on_by_a_redirect(server, told, monkeypatch) -> None:
    other = KfpServer()
    server.oidc = Oidc(sends_on=f"{other.url}/take")
    server.dex = {"me": SECRET}
    monkeypatch.setenv("ME", "me")
    monkeypatch.setenv("PASS", SECRET)
    try:
        assert told(f"{server.url} --dex-user-env ME --dex-password-env PASS")[0] == (
            f"{server.url} wants the password sent on to another address; it was not sent."
        )
        assert other.requests == []
    finally:
        other.close()


def test_a_login_that_nobody_asks_for_is_told_so(server, told, monkeypatch) -> None:
    monkeypatch.setenv("ME", "me")
    monkeypatch.setenv("PASS", SECRET)
    assert told(f"{server.url} --dex-user-env ME --dex-password-env PASS") == [
        f"{server.url} has no page that asks for a name and a password.",
        "Connect without --dex-user-env and --dex-password-env, or with --token-file or --cookie-file.",
    ]


def test_a_proxy_with_a_login_is_passed_and_told_when_it_does_not_let_through(told, tmp_path, monkeypatch) -> None:
    certificate(tmp_path, "kf.example.org")
    server = KfpServer(str(tmp_path / "server.pem"))
    server.sessions, server.dex = set(), {"me": SECRET}
    proxy = Proxy(int(server.url.rpartition(":")[2]), f"worker:{SECRET}")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    monkeypatch.setenv("ME", "me")
    monkeypatch.setenv("PASS", SECRET)
    plain = "https://kf.example.org --ca-file ca.pem"
    login = f"{plain} --dex-user-env ME --dex-password-env PASS"
    try:
        for words in (plain, login):
            monkeypatch.setenv("HTTPS_PROXY", f"http://worker:wrong-{SECRET}@{proxy.address}")
            assert told(words) == [
                f"The proxy http://{proxy.address} wants a login (407).",
                "$HTTPS_PROXY may have one: http://USER:PASSWORD@HOST:PORT",
            ]
            assert {allowed for _, allowed in proxy.asked} == {False}
            proxy.asked.clear()
            monkeypatch.setenv("HTTPS_PROXY", "socks5://localhost:1")
            assert told(words)[0].startswith("The proxy of $HTTPS_PROXY speaks socks5, and only http")
            monkeypatch.setenv("HTTPS_PROXY", "localhost:1")
            assert told(words) == [
                "The proxy http://localhost:1 does not let a connection to kf.example.org through.",
                "Look at $HTTPS_PROXY; without a proxy for this host: NO_PROXY=kf.example.org",
            ]
        monkeypatch.setenv("HTTPS_PROXY", f"worker:{SECRET}@{proxy.address}")  # without a scheme, as curl takes it
        assert told(plain)[0] == "https://kf.example.org answered with a login page; it was asked with no login."
        assert told(login)[1] == "  server     Kubeflow Pipelines 2.5.0 at https://kf.example.org"
        assert {first.split()[1] for first, allowed in proxy.asked if allowed} == {"kf.example.org:443"}
        asked = len(proxy.asked)
        monkeypatch.setenv("NO_PROXY", "kf.example.org")
        assert "proxy" not in told(plain)[0]
        told(f"{server.url} --ca-file ca.pem")  # a host of this machine is never asked for through a proxy
        assert len(proxy.asked) == asked
    finally:
        proxy.close()
        server.close()


DASHBOARD = b"<!doctype html><html><head><title>Kubeflow Central Dashboard</title></head><body><main-page></main-page>"
JUPYTER = b"<!DOCTYPE HTML><html><head><title>Jupyter Server</title></head><body><h1>404 : Not Found</h1>"
NGINX = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"


@pytest.mark.parametrize(
    ("fault", "words", "lines"),
    [
        (
            Fault("/apis/", status=200, body=DASHBOARD, kind="text/html", times=9),
            " --token-env MINE",
            [
                "{0} answered with a page ('Kubeflow Central Dashboard') instead of Kubeflow Pipelines; "
                "it was asked with token of $MINE.",
                "On Kubeflow its address ends so: %kfp_connect {0}/pipeline; or the login has ended: "
                "Put a new token into $MINE, and connect again.",
            ],
        ),
        (
            Fault("/apis/", status=404, body=JUPYTER, kind="text/html", times=9),
            "",
            [
                "There is no Kubeflow Pipelines API at {0}.",
                "On Kubeflow its address ends so: %kfp_connect {0}/pipeline",
            ],
        ),
        (
            Fault("/apis/", status=404, body=JUPYTER, kind="text/html", times=9),
            "/lab",
            ["There is no Kubeflow Pipelines API at {0}/lab.", "Perhaps its address has no path: %kfp_connect {0}"],
        ),
        (
            Fault("/apis/", status=400, body=NGINX, kind="text/html", times=9),
            "",
            ["{0} speaks TLS.", "%kfp_connect {1}"],
        ),
        (
            Fault("/apis/", status=302, headers={"Location": "https://accounts.google.com/o/oauth2/auth?x"}, times=9),
            "",
            ["{0} answered with a login page at accounts.google.com; it was asked with no login.", "Say who asks: "],
        ),
        (
            Fault("/apis/", status=401, body=b"Jwt verification fails", kind="text/plain", times=9),
            " --token-env MINE",
            [
                "{0} does not know who asks (401): Jwt verification fails; it was asked with token of $MINE.",
                "Put a new token into $MINE, and connect again.",
            ],
        ),
        (
            Fault("/apis/", status=401, body=f"Invalid token: {SECRET}".encode(), kind="text/plain", times=9),
            " --token-env MINE",
            ["{0} does not know who asks (401): Invalid token: …; it was asked with token of $MINE.", "Put a new"],
        ),
        (
            Fault("/apis/", status=403, body=b"RBAC: access denied", kind="text/plain", times=9),
            "",
            ["{0} lets nobody in without a login (403): RBAC: access denied", "Say who asks: "],
        ),
        (
            Fault("/apis/", status=403, body=b"RBAC: access denied", kind="text/plain", times=9),
            " --token-env MINE --namespace theirs",
            [
                "{0} does not let this login do that in namespace 'theirs' (403): RBAC: access denied",
                "Ask for access to the namespace, or name another one: %kfp_connect … --namespace NAME.",
            ],
        ),
    ],
    ids=["dashboard", "jupyter", "path", "nginx", "google", "istio", "echo", "rbac", "namespace"],
)
def test_an_address_that_is_something_else_is_told_by_what_it_answers(
    server, told, monkeypatch, fault, words, lines
) -> None:
    monkeypatch.setenv("MINE", SECRET)
    server.faults.append(fault)
    answer = told(server.url + words)
    expected = [line.format(server.url, server.url.replace("http", "https")) for line in lines]
    assert len(answer) == len(expected)
    assert [line[: len(start)] for line, start in zip(answer, expected, strict=True)] == expected


def test_a_known_connection_is_changed_by_its_name(server, told, settings, monkeypatch) -> None:
    server.tokens, server.multi_user, server.namespaces = {SECRET}, True, {"a", "b"}
    monkeypatch.setenv("MINE", SECRET)
    (Path.cwd() / "token").write_text(SECRET, encoding="utf-8")
    told(f"{server.url} --token-env MINE --namespace a --name mine")
    assert told("mine --namespace b")[3] == "  namespace  b"
    assert told("mine --token-file token")[2:4] == [f"  login      token of {Path.cwd()}/token", "  namespace  b"]
    kept = Connections(settings.home_path).get("kfp")
    assert (kept.name, kept.host, kept.token_env, kept.namespace) == ("mine", server.url, "", "b")
    assert told("mien") == ["'mien' is no server.", "Did you mean 'mine'?"]
    assert told("mine --forget")[1].split() == ["→", "local", "this", "machine"]  # where runs went is gone
    assert told("--forget") == [
        "Forget which connection?",
        "%kfp_connect https://host, or %kfp_connect vertex:project/region, makes one known.",
    ]


def test_addresses_that_want_a_word_more(told) -> None:
    assert told("my-host:8080") == [
        "'my-host:8080' is no server.",
        "Say how it is reached: http://my-host:8080 or https://my-host:8080.",
    ]
    assert parse("[::1]:8080").host == "http://[::1]:8080"
    assert parse("127.0.0.2:8080").host == "http://127.0.0.2:8080"


def commanded(*words: object, code: int = 0, **variables: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "kfp_magics.cli", *map(str, words)],
        capture_output=True, text=True, timeout=90, check=False, env=os.environ | variables,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return (done.stdout + done.stderr).splitlines()


def test_the_command_line_connects_lists_and_forgets_as_a_notebook_does(server, settings) -> None:
    server.tokens = {SECRET}
    assert commanded("connect", server.url, "--token-env", "MINE", code=2) == [
        "The variable MINE of --token-env is not set here.",
        "Type it where nothing keeps it: read -rs MINE; export MINE",
    ]
    card = commanded("connect", server.url, "--token-env", "MINE", "--name", "mine", MINE=SECRET)
    assert card[:3] == [
        "mine is known: kfp-magics run FILE --connect mine",
        f"  server     Kubeflow Pipelines 2.5.0 at {server.url}",
        "  login      token of $MINE",
    ]
    assert Connections(settings.home_path).get("kfp").token_env == "MINE"
    assert [line.split()[:2] for line in commanded("connect")[1:]] == [["→", "local"], ["mine", server.url]]
    tls = server.url.replace("http", "https")
    assert commanded("connect", tls, code=2) == [f"{tls} does not speak TLS.", f"kfp-magics connect {server.url}"]
    assert len(commanded("connect", "mine", "--forget")) == 2


def test_no_secret_is_in_what_is_kept_shown_or_raised(server, shell, told, tmp_path, settings, monkeypatch) -> None:
    import logging
    import traceback

    logging.getLogger().setLevel(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    server.tokens = {SECRET}
    monkeypatch.setenv("MINE", SECRET)
    told(f"{server.url} --token-env MINE --name mine")
    session = shell.user_ns["get_ipython"]()._kfp_magics_session
    service = session.backend("kfp").service()
    shown = [repr(one) for one in (service, service.__dict__, service._login, service._login.__dict__, session.servers)]
    server.tokens = {"another"}
    with pytest.raises(LoginError) as caught:
        seen(shell, "%kfp_connect mine")
    error: BaseException | None = caught.value
    shown += traceback.format_exception(caught.value)
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    shown += [seen(shell, "%kfp_connect"), repr(Connections(settings.home_path).all())]
    assert not [one for one in shown if SECRET in one]
    kept = [path for path in settings.home_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    assert {path.stat().st_mode & 0o077 for path in [*kept, settings.home_path]} == {0}


def test_a_run_of_a_connection_that_was_forgotten_says_so(server, shell, settings: Settings) -> None:
    from tests.kfp.pipelines import ir_of

    server.lasts = 1e9
    Path("plain.yaml").write_text(ir_of("plain"), encoding="utf-8")
    seen(shell, f"%kfp_connect {server.url} --name mine")
    run = shell.run_line_magic("kfp_run", "plain.yaml").run
    seen(shell, "%kfp_connect mine --forget")
    tree = seen(shell, f"%kfp_runs {run.id}").splitlines()
    assert tree[1].startswith("    stale since ")
    assert tree[1].endswith(": No connection is called 'mine'.")
    assert "(stale)" in seen(shell, "%kfp_runs")
    seen(shell, f"%kfp_connect {server.url} --name mine")
    assert "stale" not in seen(shell, f"%kfp_runs {run.id}")
