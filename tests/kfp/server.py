"""A server that answers with the shapes of KFP's v2beta1 API, over a socket, and does wrong what it is told to."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from kfp_magics import mlmd
from kfp_magics.model import Task
from tests.kfp import metadata, natives
from tests.kfp.doors import Oidc
from tests.kfp.workflow import EPOCH, Plan, Workflow, stamp

DEX_PAGE = b"""<html><form method="post" action="/dex/auth/local/login?back=&amp;state=abc">
<input name="login"><input type="password" name="password"></form></html>"""
LOGIN_PAGE = b"<!DOCTYPE html><html><body><form>Log in</form></body></html>"


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        match: Regular expression, searched in ``METHOD /path?query``.
        times: How many it hits.
        status: Answered instead; the request has no effect.
        body: Of that answer.
        kind: Its content type.
        headers: Of that answer.
        delay: Seconds before the request takes effect.
        lag: Seconds after it took effect and before the answer.
        lose: The request takes effect, and then the connection is cut.
        cut: Half of the answer is sent, then the connection is cut.
        drop: The answer is whole, and then the connection is dropped, as proxies do with idle ones.
    """

    match: str
    times: int = 1
    status: int = 0
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    lag: float = 0.0
    lose: bool = False
    cut: bool = False
    drop: bool = False


@dataclass
class Kept:
    """A run as the server keeps it."""

    body: dict
    plan: Plan = field(default_factory=Plan)
    began: float = 0.0
    ended: str = ""
    workflow: str = ""
    archived: bool = False
    attempt: int = 1


class KfpServer:
    """The server.

    Attributes:
        plans: Display name of a run → how it goes; others succeed after `lasts` seconds.
        lasts: Seconds that a run goes on.
        faults: What is still to go wrong.
        flaky: Share of requests that fail, one way or another.
        slow: Seconds after which some of them are answered; none of them when 0.
        failed: How many did.
        down: Set by `stop`: connections that are still open are cut.
        tokens: Bearer tokens that are let in; everybody is when empty.
        sessions: Cookies of sessions that Dex gave; None when there is no Dex.
        dex: Name → password.
        oidc: oauth2-proxy that stands in front of it, with a Dex of several ways to log in.
        namespaces: Namespace → the tokens that may use it; everybody may when empty.
        skew: Seconds that its clock is ahead.
        links: See `Workflow`; ``native``: tasks as version 3 keeps them, which are told only to who asks for all.
        without: Fields that this (older) server does not have.
        words: States that it says in place of others.
        odd: Run → what is said of it in place of the truth.
        requests: What came, ``METHOD /path?query``.
        logs: Pod → what it printed.
        artifacts: Artifact → its content, as the API's ``:read`` gives it.
        results: Pipeline → what its tasks took and gave, as ML Metadata tells it when a run is over.
        files: ``source/bucket/key`` → content, as the pages' file route gives it.
    """

    def __init__(self, certificate: str = "") -> None:
        self.runs: dict[str, Kept] = {}
        self.experiments: dict[str, dict] = {}
        self.pipelines: dict[str, dict] = {}
        self.versions: dict[str, dict] = {}
        self.recurring: dict[str, dict] = {}
        self.plans: dict[str, Plan] = {}
        self.lasts = 0.3
        self.faults: list[Fault] = []
        self.flaky = 0.0
        self.slow = 0.0
        self.failed = 0
        self.down = False
        self.random = random.Random(7)
        self.tokens: set[str] = set()
        self.seen_tokens: list[str] = []
        self.sessions: set[str] | None = None
        self.dex: dict[str, str] = {}
        self.oidc: Oidc | None = None
        self.namespaces: set[str] = set()
        self.multi_user = False
        self.skew = 0.0
        self.links = "argo"
        self.without: set[str] = set()
        self.words: dict[str, str] = {}
        self.odd: dict[str, dict] = {}
        self.requests: list[str] = []
        self.logs: dict[str, str] = {}
        self.artifacts: dict[str, bytes] = {}
        self.results: dict[str, list[Task]] = {}
        self.files: dict[str, bytes] = {}
        self.guard = threading.RLock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def answer(self):
                server.answer(self)

            do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815

            def log_message(self, *_):
                pass

        self.handler = Handler
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        scheme = "http"
        if certificate:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self.http.server_address[1]}"
        self.serve()

    def serve(self) -> None:
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Listens no more."""
        self.down = True
        self.close()

    def restart(self) -> None:
        """Listens again where it did; it remembers everything."""
        self.down = False
        self.http = ThreadingHTTPServer(self.http.server_address, self.handler)
        self.http.daemon_threads = True
        self.serve()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    # How requests are answered

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        line = f"{http.command} {http.path}"
        with self.guard:
            self.requests.append(line)
            fault = self.fault(line)
        if fault.delay:
            time.sleep(fault.delay)
        if fault.status:
            return self.send(http, fault.status, fault.body, fault.kind, fault.headers)
        status, answer, kind, headers = self.decide(http, line, body)
        time.sleep(fault.lag)
        if fault.lose:
            return self.reset(http)
        self.send(http, status, answer, kind, headers, cut=fault.cut)
        if fault.drop:
            self.reset(http)
        return None

    def fault(self, line: str) -> Fault:
        if self.down:
            return Fault("", lose=True)
        for one in self.faults:
            if one.times > 0 and re.search(one.match, line):
                one.times -= 1
                return one
        if self.flaky and self.random.random() < self.flaky:
            self.failed += 1
            ways = [
                Fault("", status=500, body=b'{"error":"boom","code":13,"message":"Internal error"}'),
                Fault("", status=503, body=b"upstream connect error", kind="text/plain"),
                Fault("", lose=True),
                Fault("", cut=True),
            ]
            return self.random.choice([*ways, Fault("", lag=self.slow)] if self.slow else ways)
        return Fault("")

    @staticmethod
    def reset(http: BaseHTTPRequestHandler) -> None:
        http.close_connection = True
        http.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.connection.close()

    def send(self, http, status, body, kind="application/json", headers=None, *, cut=False) -> None:
        http.send_response(status)
        http.send_header("Content-Type", kind)
        http.send_header("Content-Length", str(len(body) + (1 if cut else 0)))
        for name, value in headers.items() if isinstance(headers, dict) else headers or ():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            http.wfile.flush()
            self.reset(http)

    def decide(self, http, line, body):
        path, _, query = http.path.partition("?")
        asked = {key: values[-1] for key, values in urllib.parse.parse_qs(query).items()}
        if (self.sessions is not None or self.oidc) and (found := self.login(http, path, body)):
            return found
        if self.tokens:
            token = (http.headers.get("Authorization") or "").removeprefix("Bearer ")
            self.seen_tokens.append(token)
            if token not in self.tokens:
                return self.error(401, 16, "Request header error: there is no user identity header.")
        with self.guard:
            for method, pattern, action in self.routes():
                match = re.fullmatch(pattern, urllib.parse.unquote(path)) if method == http.command else None
                if match:
                    found = action(*match.groups(), asked=asked, body=body, http=http)
                    if isinstance(found, tuple):
                        return found
                    return 200, json.dumps(found).encode(), "application/json", {}
        return 404, b"<html>not found</html>", "text/html", {}

    def login(self, http, path, body):
        """Dex with oauth2-proxy in front: a page with a form, a redirect back, a cookie."""
        if self.oidc:
            return self.oidc.answer(http, path, body, self.dex)
        cookies = http.headers.get("Cookie") or ""
        if any(f"authservice_session={one}" in cookies for one in self.sessions):
            return None
        if path == "/dex/auth/local/login":
            if http.command == "GET":
                return 200, DEX_PAGE, "text/html", {}
            form = dict(urllib.parse.parse_qsl(body.decode()))
            if not form.get("password") or self.dex.get(form.get("login", "")) != form["password"]:
                return 401, b'<form><input type="password"></form>', "text/html", {}
            session = uuid.uuid4().hex
            self.sessions.add(session)
            return 303, b"", "text/html", {"Location": "/", "Set-Cookie": f"authservice_session={session}; Path=/"}
        return 302, b"", "text/html", {"Location": "/dex/auth/local/login?state=abc"}

    @staticmethod
    def error(status, code, message):
        body = {"error": message, "code": code, "message": message, "details": []}
        return status, json.dumps(body).encode(), "application/json", {}

    def routes(self):
        v2 = "/apis/v2beta1"
        return [
            ("GET", f"{v2}/healthz", self.health),
            ("GET", "/", lambda **_: (200, b"<html>Kubeflow</html>", "text/html", {})),
            ("GET", f"{v2}/experiments", self.list_experiments),
            ("POST", f"{v2}/experiments", self.create_experiment),
            ("GET", f"{v2}/experiments/([^/:]+)", lambda one, **_: self.experiments.get(one) or self.gone(one)),
            ("GET", f"{v2}/runs", self.list_runs),
            ("POST", f"{v2}/runs", self.create_run),
            ("GET", f"{v2}/runs/([^/:]+)", self.get_run),
            ("DELETE", f"{v2}/runs/([^/:]+)", self.delete_run),
            ("POST", f"{v2}/runs/([^/:]+):(\\w+)", self.act),
            ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", self.log),
            ("GET", f"{v2}/runs/([^/]+)/nodes/([^/]+)/artifacts/([^/]+):read", self.artifact),
            ("POST", f"{mlmd.PATH}(\\w+)", self.metadata),
            ("GET", "/artifacts/(\\w+)/([^/]+)/(.+)", self.file),
            ("GET", f"{v2}/pipelines", self.list_pipelines),
            ("POST", f"{v2}/pipelines", self.create_pipeline),
            (
                "DELETE",
                f"{v2}/pipelines/([^/]+)",
                lambda one, **_: {} if self.pipelines.pop(one, None) else self.gone(one),
            ),
            ("GET", f"{v2}/pipelines/([^/]+)/versions", self.list_versions),
            ("POST", f"{v2}/pipelines/upload_version", self.upload_version),
            ("GET", f"{v2}/pipelines/([^/]+)/versions/([^/]+)", lambda _, one, **__: self.versions[one]),
            ("GET", f"{v2}/recurringruns", self.list_recurring),
            ("POST", f"{v2}/recurringruns", self.create_recurring),
            ("POST", f"{v2}/recurringruns/([^/:]+):(enable|disable)", self.switch_recurring),
            ("DELETE", f"{v2}/recurringruns/([^/:]+)", self.delete_recurring),
        ]

    def gone(self, what):
        return self.error(404, 5, f"ResourceNotFoundError: {what} not found.")

    def health(self, **_):
        found = {
            "commit_sha": "abc",
            "tag_name": "3.0.0" if self.links == "native" else "2.5.0",
            "multi_user": self.multi_user,
        }
        return {key: value for key, value in found.items() if key not in self.without}

    # Experiments

    def list_experiments(self, asked, **_):
        if self.namespaces and asked.get("namespace") not in self.namespaces:
            return self.error(403, 7, "User is not authorized to list experiments in this namespace.")
        return {"experiments": self.filtered(self.experiments.values(), asked)}

    def create_experiment(self, body, **_):
        made = json.loads(body)
        if any(one["display_name"] == made["display_name"] for one in self.experiments.values()):
            return self.error(409, 6, f"Already exist error: {made['display_name']}")
        made |= {"experiment_id": str(uuid.uuid4()), "created_at": stamp(self.clock()), "storage_state": "AVAILABLE"}
        self.experiments[made["experiment_id"]] = made
        return made

    @staticmethod
    def filtered(rows, asked):
        found = list(rows)
        for one in json.loads(asked.get("filter") or "{}").get("predicates", ()):
            key, word = one["key"], one.get("string_value")
            match one["operation"]:
                case "EQUALS":
                    found = [row for row in found if row.get(key) == word]
                case "IS_SUBSTRING":
                    found = [row for row in found if word in row.get(key, "")]
                case "IN":
                    found = [row for row in found if row.get(key) in one["string_values"]["values"]]
        return found

    # Runs

    def clock(self):
        return time.time() + self.skew

    def create_run(self, body, **_):
        asked = json.loads(body)
        if asked.get("experiment_id") not in self.experiments:
            return self.gone(f"Experiment {asked.get('experiment_id')}")
        if self.namespaces and self.experiments[asked["experiment_id"]].get("namespace") not in self.namespaces:
            return self.error(403, 7, "User is not authorized to create runs in this namespace.")
        run_id = str(uuid.uuid4())
        made = {"run_id": run_id, "created_at": stamp(self.clock()), "storage_state": "AVAILABLE", **asked}
        self.runs[run_id] = Kept(
            body=made,
            plan=self.plans.get(asked["display_name"], Plan()),
            began=time.time(),
            workflow=f"pipeline-{uuid.uuid4().hex[:5]}",
        )
        return self.shown(run_id)

    def shown(self, run_id, view=""):
        kept = self.runs[run_id]
        spec = kept.body.get("pipeline_spec") or {}
        spec = spec.get("pipeline_spec", spec)
        age = time.time() - kept.began
        state = kept.ended
        details = []
        if spec and (age > self.lasts / 3 or kept.plan.steps is not None or kept.ended):
            plan = kept.plan
            if not kept.ended and plan.steps is None and age < self.lasts:
                plan = Plan(**{**plan.__dict__, "steps": 0})
            declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
            parameters = {name: one["defaultValue"] for name, one in declared.items() if "defaultValue" in one}
            parameters |= (kept.body.get("runtime_config") or {}).get("parameters") or {}
            links = "parents" if self.links == "native" else self.links
            made = Workflow(spec, kept.workflow, plan, int(kept.began + self.skew), links, parameters)
            details, state = made.details, kept.ended or made.state
            kept.pods = made.pods
        state = state or ("PENDING" if spec or age < self.lasts else "SUCCEEDED")
        over = state in {"SUCCEEDED", "FAILED", "CANCELED"}
        word = self.words.get(state, state)
        end = stamp(kept.began + self.skew + self.lasts + 1 + kept.attempt) if over else EPOCH
        shown = {**kept.body, "state": word, "finished_at": end}
        shown["storage_state"] = "ARCHIVED" if kept.archived else "AVAILABLE"
        if state == "FAILED":
            shown["error"] = {"code": 13, "message": "task failed"}
        if details and self.links == "native":
            results = self.results.get(self.pipeline_of(run_id), []) if over else []
            tasks = natives.tasks_of(made, results)
            shown |= {"task_count": len(tasks)} | ({"tasks": tasks} if view == "FULL" else {})
        elif details:
            shown["run_details"] = {"task_details": details}
        shown |= self.odd.get(run_id, {})
        return {key: value for key, value in shown.items() if key not in self.without}

    def get_run(self, run_id, asked, **_):
        return self.shown(run_id, asked.get("view", "")) if run_id in self.runs else self.gone(f"Run {run_id}")

    def list_runs(self, asked, **_):
        if self.namespaces and asked.get("namespace") not in self.namespaces and not asked.get("experiment_id"):
            return self.error(403, 7, f"User is not authorized to list runs in namespace {asked.get('namespace')!r}.")
        if "filter by run_id" in self.without and '"run_id"' in asked.get("filter", ""):
            return self.error(400, 3, "Invalid input error: Invalid predicate: key run_id")
        bodies = [one.body for one in self.runs.values()]
        if asked.get("experiment_id"):
            bodies = [one for one in bodies if one["experiment_id"] == asked["experiment_id"]]
        if '"state"' in asked.get("filter", ""):
            bodies = [{**one, "state": self.shown(one["run_id"]).get("state")} for one in bodies]
        found = self.filtered(bodies, asked)
        found.sort(key=lambda one: one["created_at"], reverse="desc" in asked.get("sort_by", ""))
        full = self.links == "native" and asked.get("view") == "FULL"
        size = min(int(asked.get("page_size") or 20), 100 if full else 200)
        start = int(asked.get("page_token") or 0)
        page = [self.shown(one["run_id"], asked.get("view", "")) for one in found[start : start + size]]
        more = {"next_page_token": str(start + size)} if start + size < len(found) else {}
        return {"runs": page, "total_size": len(found), **more}

    def delete_run(self, run_id, **_):
        return {} if self.runs.pop(run_id, None) else self.gone(f"Run {run_id}")

    def act(self, run_id, verb, **_):
        kept = self.runs.get(run_id)
        if kept is None:
            return self.gone(f"Run {run_id}")
        match verb:
            case "terminate":
                kept.ended = "CANCELED"
            case "retry":
                kept.ended, kept.plan, kept.began, kept.attempt = "", Plan(), time.time(), kept.attempt + 1
            case "archive" | "unarchive":
                kept.archived = verb == "archive"
        return {}

    def log(self, run_id, node, **_):
        if node in self.logs:
            return 200, self.logs[node].encode(), "text/plain", {}
        # As the server does it: the status is out before the log is looked for.
        error = {"error_message": "Failed to read logs for run", "error_details": "no such pod"}
        return 200, json.dumps(error).encode(), "text/plain", {}

    def artifact(self, run_id, node, name, **_):
        if name not in self.artifacts:
            return self.error(404, 5, "artifact not found")
        return {"data": base64.b64encode(self.artifacts[name]).decode()}

    def metadata(self, method, body, **_):
        """ML Metadata behind the same address."""
        if "metadata" in self.without or self.links == "native":
            return 404, b"<html>not found</html>", "text/html", {}
        over = [run_id for run_id in self.runs if self.shown(run_id).get("state") == "SUCCEEDED"]
        told = {run_id: self.results.get(self.pipeline_of(run_id), []) for run_id in over}
        return 200, metadata.answer(method, body, told), mlmd.CONTENT_TYPE, {}

    def pipeline_of(self, run_id):
        spec = self.runs[run_id].body.get("pipeline_spec") or {}
        return spec.get("pipeline_spec", spec).get("pipelineInfo", {}).get("name", "")

    def file(self, source, bucket, key, **_):
        name = f"{source}/{bucket}/{key}"
        if name not in self.files:
            return 500, f"Failed to get object in bucket {bucket} at path {key}: NoSuchKey".encode(), "text/plain", {}
        return 200, self.files[name], "application/octet-stream", {}

    # Pipelines and recurring runs

    def list_pipelines(self, asked, **_):
        return {"pipelines": self.filtered(self.pipelines.values(), asked)}

    @staticmethod
    def uploaded(body, http):
        head = f"Content-Type: {http.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        spec, *platform = yaml.safe_load_all(next(iter(message.iter_parts())).get_payload(decode=True))
        return {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec

    def create_pipeline(self, body, **_):
        made = json.loads(body)
        if any(one["display_name"] == made["display_name"] for one in self.pipelines.values()):
            return self.error(409, 6, f"Already exist error: {made['display_name']}")
        made |= {"pipeline_id": str(uuid.uuid4()), "created_at": stamp(self.clock())}
        self.pipelines[made["pipeline_id"]] = made
        return made

    def list_versions(self, pipeline_id, **_):
        return {"pipeline_versions": [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]}

    def upload_version(self, asked, body, http, **_):
        same = [one for one in self.versions.values() if one["pipeline_id"] == asked["pipelineid"]]
        if asked["name"] in {one["display_name"] for one in same}:
            return self.error(409, 6, f"Already exist error: the name {asked['name']} already exists")
        version = {
            "pipeline_id": asked["pipelineid"],
            "created_at": stamp(self.clock()),
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": asked["name"],
            "pipeline_spec": self.uploaded(body, http),
        }
        self.versions[version["pipeline_version_id"]] = version
        return version

    def list_recurring(self, asked, **_):
        rows = list(self.recurring.values())
        start = int(asked.get("page_token") or 0)
        more = {"next_page_token": str(start + 200)} if start + 200 < len(rows) else {}
        return {"recurringRuns": rows[start : start + 200], **more}

    def create_recurring(self, body, **_):
        made = {"recurring_run_id": str(uuid.uuid4()), **json.loads(body)}
        made["status"] = "ENABLED" if made.get("mode") == "ENABLE" else "DISABLED"
        self.recurring[made["recurring_run_id"]] = made
        return made

    def delete_recurring(self, one, **_):
        return {} if self.recurring.pop(one, None) else self.gone(one)

    def switch_recurring(self, one, verb, **_):
        if one not in self.recurring:
            return self.gone(one)
        self.recurring[one]["status"] = verb.upper() + "D"
        return {}
