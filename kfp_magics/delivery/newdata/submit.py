"""Where the runs of new data go: a Kubeflow Pipelines server, or Vertex AI; by their REST interfaces.

This file is copied beside the generated function. It sends three requests and needs none of the large clients, so that
an instance of the function starts within a second.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import requests
import yaml

from .once import Job, Runs, Started

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .rules import NewObject

_TIMES = (5.0, 20.0)  # seconds until connected, and until an answer
_CLOUD = "https://www.googleapis.com/auth/cloud-platform"
_LONGEST_NAME = 128  # characters of a run's name
_NEWEST = 200  # runs of a page, the most that a server gives


class RefusedError(Exception):
    """A server said no, or nothing."""


def runs_of(target: Mapping[str, Any], pipeline: str, folder: Path) -> Runs:
    """Makes the place that runs go to.

    Args:
        target: The content of ``target.json``.
        pipeline: The compiled pipeline.
        folder: Where the function is, for files that the target names.
    """
    first, *others = [one for one in yaml.load_all(pipeline, Loader=_loader()) if one]
    if target["kind"] == "vertex":
        return VertexRuns(target, first)
    if target["kind"] != "kfp":
        raise RefusedError("It is not said where runs go: connect to a server, and write the function again.")
    spec = {"pipeline_spec": first, "platform_spec": others[0]} if others else first
    return KfpRuns(target, spec, folder)


def _loader() -> Any:  # noqa: ANN401  (PyYAML's)
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StandIns:
    """Runs that read files of this machine in the place of objects, for trials without the cloud.

    Args:
        runs: Where runs go.
        files: URI of an object → path of the file.
    """

    def __init__(self, runs: Runs, files: Mapping[str, str]) -> None:
        self._runs = runs
        self._files = files

    def find(self, mark: str) -> Started | None:
        """Looks for the run of a mark; see `Runs.find`."""
        return self._runs.find(mark)

    def start(self, job: Job) -> Started:
        """Starts a run; see `Runs.start`."""
        return self._runs.start(replace(job, parameters=self._replaced(dict(job.parameters))))

    def _replaced(self, value: Any) -> Any:  # noqa: ANN401  (JSON)
        if isinstance(value, dict):
            return {key: self._replaced(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._replaced(one) for one in value]
        if isinstance(value, str):
            for uri, path in self._files.items():
                value = value.replace(uri, path)
        return value


class KfpRuns:
    """Runs of a Kubeflow Pipelines server; the description of each holds its mark.

    Args:
        target: The server, and how it is told who asks.
        spec: The compiled pipeline, as the server takes it.
        folder: Where the function is.
    """

    def __init__(self, target: Mapping[str, Any], spec: Mapping[str, Any], folder: Path) -> None:
        self._target = target
        self._spec = spec
        self._host = target["host"]
        self._experiment_id = ""
        self._session = requests.Session()
        if target.get("ca_file"):
            self._session.verify = str(folder / target["ca_file"])

    def find(self, mark: str) -> Started | None:
        """Looks for the run of a mark; see `Runs.find`."""
        found = self._marked(mark)
        if not found:  # what else can fail before a run is sent fails here, where nothing was started yet
            self._experiment_id = self._experiment()
        return self._started(found[0]) if found else None

    def start(self, job: Job) -> Started:
        """Starts a run; see `Runs.start`."""
        spec = self._spec.get("pipeline_spec", self._spec)
        config: dict[str, Any] = {"parameters": dict(job.parameters)}
        if self._target.get("pipeline_root"):
            config["pipeline_root"] = self._target["pipeline_root"]
        body = {
            "display_name": name_of(spec["pipelineInfo"]["name"], job.objects),
            "description": description_of(job.mark, job.objects),
            "pipeline_spec": self._spec,
            "runtime_config": config,
            "experiment_id": self._experiment_id,
        }
        if self._target.get("service_account"):
            body["service_account"] = self._target["service_account"]
        made = self._ask("POST", "/apis/v2beta1/runs", json=body)
        # A request that was thought lost may have taken effect late: the oldest run stays, all others are ended.
        first, *others = self._marked(job.mark) or [made]
        for one in others:
            self._ask("POST", f"/apis/v2beta1/runs/{one['run_id']}:terminate")
        return self._started(first)

    def _marked(self, mark: str) -> list[dict[str, Any]]:
        wanted = {"operation": "IS_SUBSTRING", "key": "description", "string_value": mark}
        query = {
            "page_size": _NEWEST,
            "sort_by": "created_at desc",
            "filter": json.dumps({"predicates": [wanted]}),
            **self._namespace(),
        }
        found = self._ask("GET", "/apis/v2beta1/runs", params=query).get("runs") or []
        return sorted((one for one in found if mark in one.get("description", "")), key=lambda one: one["created_at"])

    def _experiment(self) -> str:
        name = self._target.get("experiment") or "Default"
        if known := self._find_experiment(name):
            return known
        body = {"display_name": name, **self._namespace()}
        # Refused, too, where another instance made it at the same moment.
        made = self._ask("POST", "/apis/v2beta1/experiments", json=body, besides=(409,))
        return str(made.get("experiment_id") or self._find_experiment(name))

    def _find_experiment(self, name: str) -> str:
        wanted = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        query = {"page_size": _NEWEST, "filter": json.dumps({"predicates": [wanted]}), **self._namespace()}
        found = self._ask("GET", "/apis/v2beta1/experiments", params=query).get("experiments") or []
        return next((str(one["experiment_id"]) for one in found if one.get("display_name") == name), "")

    def _namespace(self) -> dict[str, str]:
        return {"namespace": self._target["namespace"]} if self._target.get("namespace") else {}

    def _started(self, raw: Mapping[str, Any]) -> Started:
        run = str(raw["run_id"])
        return Started(run=run, url=f"{self._host}/#/runs/details/{run}")

    def _ask(self, method: str, path: str, **words: Any) -> dict[str, Any]:  # noqa: ANN401  (those of requests)
        return _asked(self._session, method, f"{self._host}{path}", headers=_login(self._target), **words)


class VertexRuns:
    """Runs of Vertex AI; the id of each is its mark.

    Args:
        target: The project, the region, and where runs write.
        spec: The compiled pipeline.
    """

    def __init__(self, target: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        self._target = target
        self._spec = spec
        region, project = target["region"], target["project"]
        host = target.get("endpoint") or f"https://{region}-aiplatform.googleapis.com"
        self._jobs = f"{host}/v1/projects/{project}/locations/{region}/pipelineJobs"
        self._session = requests.Session()

    def find(self, mark: str) -> Started | None:
        """Looks for the run of a mark; see `Runs.find`."""
        run = self._run(mark)
        found = _asked(self._session, "GET", f"{self._jobs}/{run}", headers=self._headers(), besides=(404,))
        return self._started(run) if "name" in found else None

    def start(self, job: Job) -> Started:
        """Starts a run; one with its id is this one; see `Runs.start`."""
        run, root = self._run(job.mark), self._target.get("pipeline_root") or self._spec.get("defaultPipelineRoot", "")
        body: dict[str, Any] = {
            "displayName": name_of(self._spec["pipelineInfo"]["name"], job.objects),
            "pipelineSpec": self._spec,
            "labels": {"started-with": "kfp-magics", "started-by": "trigger", **self._experiment()},
            "runtimeConfig": {"gcsOutputDirectory": root, "parameterValues": dict(job.parameters)},
        }
        given = {"serviceAccount": self._target.get("service_account"), "network": self._target.get("network")}
        body |= {key: value for key, value in given.items() if value}
        query = {"pipelineJobId": run}
        _asked(self._session, "POST", self._jobs, json=body, params=query, headers=self._headers(), besides=(409,))
        return self._started(run)

    def _experiment(self) -> dict[str, str]:
        return {"experiment": self._target["experiment"]} if self._target.get("experiment") else {}

    def _run(self, mark: str) -> str:
        word = re.sub(r"[^a-z0-9]+", "-", self._spec["pipelineInfo"]["name"].lower()).strip("-")
        word = word if word[:1].isalpha() else f"run-{word}"
        return f"{word[:80].rstrip('-')}-{mark}"

    def _started(self, run: str) -> Started:
        region, project = self._target["region"], self._target["project"]
        page = "https://console.cloud.google.com/vertex-ai/locations"
        return Started(run=run, url=f"{page}/{region}/pipelines/runs/{run}?project={project}")

    def _headers(self) -> dict[str, str]:
        return {} if self._target.get("endpoint") else _google()


def name_of(pipeline: str, objects: Sequence[NewObject]) -> str:
    """The name of a run, which says what file started it; the end of a long path counts most."""
    newest = objects[-1].uri
    more = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
    room = max(_LONGEST_NAME - len(pipeline) - len(more) - 3, 20)
    shown = newest if len(newest) <= room else f"…{newest[1 - room :]}"
    return _plain(f"{pipeline[: _LONGEST_NAME - 60]} · {shown}{more}")


def description_of(mark: str, objects: Sequence[NewObject]) -> str:
    """The description of a run: its mark, and the file that started it."""
    more = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
    return _plain(f"Started by kfp-magics ({mark}) for {objects[-1].uri}{more}")


def _plain(text: str) -> str:
    """A text without what hides or turns around other text."""
    return "".join("�" if unicodedata.category(one) in {"Cc", "Cf", "Cs"} else one for one in text)


def _login(target: Mapping[str, Any]) -> dict[str, str]:
    if variable := target.get("token_env"):
        token = os.environ.get(variable, "").strip()
        if not token:
            raise RefusedError(f"The variable {variable}, which should hold the token for the server, is empty.")
        return {"Authorization": f"Bearer {token}"}
    if audience := target.get("iap_client_id"):
        from google.auth.transport.requests import Request  # noqa: PLC0415  (only behind Google's proxies)
        from google.oauth2 import id_token  # noqa: PLC0415

        return {"Authorization": f"Bearer {id_token.fetch_id_token(Request(), audience)}"}
    return _google() if target.get("google") else {}


def _google() -> dict[str, str]:
    import google.auth  # noqa: PLC0415  (only where Google is asked)
    from google.auth.transport.requests import Request  # noqa: PLC0415

    credentials, _ = google.auth.default(scopes=[_CLOUD])
    credentials.refresh(Request())
    return {"Authorization": f"Bearer {credentials.token}"}


def _asked(
    session: requests.Session,
    method: str,
    url: str,
    *,
    besides: tuple[int, ...] = (),
    **words: Any,  # noqa: ANN401  (those of requests)
) -> dict[str, Any]:
    """Sends one request, and reads its answer.

    Args:
        session: What sends it.
        method: GET or POST.
        url: Where to.
        besides: Statuses that are fine though they say no; the answer is then empty.
        **words: The rest of the request.

    Raises:
        RefusedError: The server refuses it, or does not answer.
    """
    try:
        answer = session.request(method, url, timeout=_TIMES, allow_redirects=False, **words)
    except requests.RequestException as error:
        raise RefusedError(f"{url} does not answer: {type(error).__name__}") from error
    if answer.status_code in besides:
        return {}
    if not answer.ok or answer.is_redirect:
        raise RefusedError(f"{url} answered {answer.status_code}: {answer.text[:300]}")
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found
