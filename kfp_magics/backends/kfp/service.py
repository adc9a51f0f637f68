"""What a Kubeflow Pipelines server can be asked, in its own words, as plain JSON."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import kfp_server_api as api

from kfp_magics.backends.kfp.logins import login_for
from kfp_magics.backends.kfp.records import Metadata
from kfp_magics.backends.kfp.runs import name_of
from kfp_magics.backends.kfp.wire import Client, read
from kfp_magics.errors import ArgumentError, BackendError, LoginError, NotFoundError, UnavailableError, UncertainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import urllib3

    from kfp_magics.backends.connections import Connection
    from kfp_magics.model import Json

PAGE = 200
"""Rows of a page: the most that the server gives."""
_LOOK_PATIENCE = 1.0  # seconds: whoever looks again and again need not be patient
_RUNS = "/apis/v2beta1/runs"
_WITH_TASKS = ("view", "FULL")
"""Asks for the tasks of a run: from version 3 on a server leaves them out elsewise, those before know no such word."""
_Row = dict[str, "Json"]


class Service:
    """One server.

    Args:
        connection: How it is reached.
        timeout: Seconds that one answer may take.
        patience: Seconds for which what failed is tried again.

    Attributes:
        metadata: What it keeps of what steps took and gave.
    """

    def __init__(self, connection: Connection, *, timeout: float, patience: float) -> None:
        self.connection = connection
        self._login = login = login_for(connection, timeout)
        self._acting = Client(connection, login, timeout=timeout, patience=patience)
        self._looking = Client(connection, login, timeout=timeout, patience=min(_LOOK_PATIENCE, patience))
        self.metadata = Metadata(connection.host, self._looking.post)
        self._experiments: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        """The headers that say who asks."""
        return self._login.headers()

    @property
    def host(self) -> str:
        """Its address."""
        return self.connection.host

    @property
    def _namespace(self) -> dict[str, str]:
        return {"namespace": self.connection.namespace} if self.connection.namespace else {}

    # About the server

    def health(self) -> _Row:
        """Whether it is there, and what it says of itself."""
        found = _ask(api.HealthzServiceApi(self._looking).healthz_service_get_healthz)
        # Some versions say more than the generated client knows of; the answer is taken as it is.
        if "multi_user" not in found and "commit_sha" not in found and "tag_name" not in found and found:
            raise BackendError(f"{self.host} answers, but not as Kubeflow Pipelines does.", "Look at the address.")
        return found

    def may_list_runs(self) -> _Row:
        """Asks for one run: whoever may see none is told so here."""
        runs = api.RunServiceApi(self._looking)
        return _ask(runs.run_service_list_runs, page_size=1, **self._namespace)

    # Experiments

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made when there is none."""
        name = name or "Default"
        if name not in self._experiments:
            self._experiments[name] = self._find_experiment(name) or self._make_experiment(name)
        return self._experiments[name]

    def forget_experiments(self) -> None:
        """Looks them up anew: somebody may have deleted one."""
        self._experiments.clear()

    def experiments(self) -> list[_Row]:
        """Lists the experiments that are not archived, newest first."""
        ask = api.ExperimentServiceApi(self._acting).experiment_service_list_experiments
        wanted = _filter(_equals("storage_state", "AVAILABLE"))
        return list(_pages(ask, "experiments", sort_by="created_at desc", filter=wanted, **self._namespace))

    def _find_experiment(self, name: str) -> str:
        experiments = api.ExperimentServiceApi(self._acting)
        found = _ask(
            experiments.experiment_service_list_experiments,
            page_size=PAGE,
            filter=_filter(_equals("display_name", name)),
            **self._namespace,
        )
        exact = [one for one in found.get("experiments", ()) if one.get("display_name") == name]
        return str(exact[0].get("experiment_id", "")) if exact else ""

    def _make_experiment(self, name: str) -> str:
        body = api.V2beta1Experiment(display_name=name, **self._namespace)
        experiments = api.ExperimentServiceApi(self._acting)
        try:
            found = _ask(experiments.experiment_service_create_experiment, body)
        except BackendError:  # somebody else made it meanwhile, or the answer to us got lost
            if found_id := self._find_experiment(name):
                return found_id
            found = _ask(experiments.experiment_service_create_experiment, body)
        return str(found.get("experiment_id", ""))

    def experiment_name(self, experiment_id: str) -> str:
        """The name of an experiment; its id when it has none any more."""
        if experiment_id and experiment_id not in self._names:
            experiments = api.ExperimentServiceApi(self._looking)
            try:
                found = _ask(experiments.experiment_service_get_experiment, experiment_id)
            except NotFoundError:
                found = {}
            self._names[experiment_id] = found.get("display_name") or experiment_id
        return self._names.get(experiment_id, "")

    # Runs

    def create_run(self, body: _Row) -> _Row:
        """Starts a run; not repeated when the answer gets lost."""
        return _ask(api.RunServiceApi(self._acting).run_service_create_run, body)

    def runs_marked(self, mark: str, experiment_id: str) -> list[_Row]:
        """Finds the runs with a description, the oldest first."""
        found = _ask(
            api.RunServiceApi(self._acting).run_service_list_runs,
            page_size=PAGE,
            sort_by="created_at desc",
            filter=_filter(_equals("description", mark)),
            experiment_id=experiment_id,
        )
        marked = [one for one in found.get("runs", ()) if one.get("description") == mark]
        return sorted(marked, key=lambda one: str(one.get("created_at", "")))

    def run(self, run_id: str) -> _Row:
        """Looks at one run, with its tasks."""
        return read(self._raw(f"{_RUNS}/{{run_id}}", {"run_id": run_id}, [_WITH_TASKS]))

    def runs_of(self, run_ids: list[str]) -> list[_Row]:
        """Looks at many runs with one question, with their tasks; at most a page of them."""
        asked = {"page_size": PAGE, "filter": _filter(_among("run_id", run_ids)), **self._namespace}
        rows: list[_Row] = read(self._raw(_RUNS, {}, [*asked.items(), _WITH_TASKS])).get("runs", [])
        return rows

    def page_of_runs(self, *, token: str = "", size: int = PAGE, name: str = "", states: Sequence[str] = ()) -> _Row:
        """Reads a page of all runs, newest first, whoever started them."""
        wanted = [_equals("storage_state", "AVAILABLE")]
        if states:
            wanted.append(_among("state", states))
        if name:
            wanted.append({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": name})
        return _ask(
            api.RunServiceApi(self._looking).run_service_list_runs,
            page_size=min(size, PAGE),
            page_token=token,
            sort_by="created_at desc",
            filter=_filter(*wanted),
            **self._namespace,
        )

    def act(self, verb: str, run_id: str) -> None:
        """Does something to a run: terminate, retry, archive, unarchive or delete it."""
        _ask(getattr(api.RunServiceApi(self._acting), f"run_service_{verb}_run"), run_id)

    def log(self, run_id: str, node: str) -> str | None:
        """Reads what a pod printed, live or from the archive; None when there is nothing of that name."""
        path = "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"
        try:
            answer = self._raw(path, {"run_id": run_id, "node_id": node})
        except NotFoundError:
            return None
        except BackendError as error:
            if "log" in error.message:  # the server says so with 500, or 400
                return None
            raise
        text: str = answer.data.decode("utf-8", "replace")
        # What the server finds wrong after it began to answer stands where the log would.
        return None if _is_error_of_a_log(text) else text

    def open_artifact(self, run_id: str, node: str, name: str) -> urllib3.BaseHTTPResponse:
        """Opens the API's answer that holds the content of an artifact."""
        parts = (quote(one, safe="") for one in (run_id, node, name))
        path = "/apis/v2beta1/runs/{}/nodes/{}/artifacts/{}:read".format(*parts)
        return self._looking.open(self.host + path, may_be_a_page=False)

    def open_file(self, source: str, bucket: str, key: str, *, may_be_a_page: bool) -> urllib3.BaseHTTPResponse:
        """Opens a file of the server's own storage, as its pages do.

        Args:
            source: Kind of storage, as the pages call it.
            bucket: The bucket.
            key: The file in it.
            may_be_a_page: Whether the file may be HTML.
        """
        path = f"/artifacts/{quote(source, safe='')}/{quote(bucket, safe='')}/{quote(key)}"
        query = f"?{urlencode(self._namespace)}" if self._namespace else ""
        return self._looking.open(self.host + path + query, may_be_a_page=may_be_a_page)

    def _raw(self, path: str, values: dict[str, str], asked: Sequence[tuple[str, Json]] = ()) -> Any:  # noqa: ANN401  (urllib3's response)
        """Asks for something in words that the generated client does not know."""
        headers = {"Accept": "*/*"}
        return self._looking.call_api(path, "GET", values, list(asked), headers, _preload_content=False)

    # Pipelines

    def upload(self, name: str, ir: str, *, version: str = "", description: str = "") -> tuple[_Row, bool]:
        """Puts a pipeline on the server, or a version of one that is there.

        Returns:
            What the server says of the pipeline, and whether it was there.

        Raises:
            ArgumentError: It has a version of that name.
        """
        known = self._find_pipeline(name)
        if known:
            if version in {one.get("display_name") for one in self.versions(str(known["pipeline_id"]))}:
                raise ArgumentError(
                    f"The pipeline {name!r} has a version {version!r} already.",
                    "Give another --version; without one it is the time.",
                )
            self._upload_version(str(known["pipeline_id"]), ir, version, description)
            return known, True
        made = self._make_pipeline(name, description)
        try:
            self._upload_version(str(made["pipeline_id"]), ir, version, description)
        except UnavailableError:
            raise
        except BackendError:  # it is refused, and a pipeline without any version is of no use
            _ask(api.PipelineServiceApi(self._acting).pipeline_service_delete_pipeline, made["pipeline_id"])
            raise
        return made, False

    def _make_pipeline(self, name: str, description: str) -> _Row:
        body = api.V2beta1Pipeline(display_name=name, **_given({"description": description}), **self._namespace)
        try:
            return _ask(api.PipelineServiceApi(self._acting).pipeline_service_create_pipeline, body)
        except UncertainError:
            if found := self._find_pipeline(name):  # the answer got lost
                return found
            raise

    def _upload_version(self, pipeline_id: str, ir: str, version: str, description: str) -> None:
        uploads = api.PipelineUploadServiceApi(self._acting)
        words = _given({"name": version, "pipelineid": pipeline_id, "description": description})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(ir, encoding="utf-8")
            try:
                _ask(uploads.upload_pipeline_version, str(path), **words)
            except UncertainError:
                if version not in {one.get("display_name") for one in self.versions(pipeline_id)}:
                    raise

    def pipelines(self) -> list[_Row]:
        """Lists the pipelines, newest first."""
        ask = api.PipelineServiceApi(self._acting).pipeline_service_list_pipelines
        return list(_pages(ask, "pipelines", sort_by="created_at desc", **self._namespace))

    def versions(self, pipeline_id: str) -> list[_Row]:
        """Lists the versions of a pipeline, newest first."""
        ask = api.PipelineServiceApi(self._acting).pipeline_service_list_pipeline_versions
        return list(_pages(partial(ask, pipeline_id), "pipeline_versions", sort_by="created_at desc"))

    def _find_pipeline(self, name: str) -> _Row:
        pipelines = api.PipelineServiceApi(self._acting)
        wanted = _filter(_equals("display_name", name))
        found = _ask(pipelines.pipeline_service_list_pipelines, page_size=PAGE, filter=wanted, **self._namespace)
        exact = [one for one in found.get("pipelines", ()) if name in {one.get("display_name"), one.get("name")}]
        return exact[0] if exact else {}

    def version_spec(self, pipeline_id: str, version_id: str) -> _Row:
        """The compiled pipeline of a version."""
        pipelines = api.PipelineServiceApi(self._looking)
        found = _ask(pipelines.pipeline_service_get_pipeline_version, pipeline_id, version_id)
        spec: _Row = found.get("pipeline_spec", {})
        return spec

    def name_in(self, reference: Mapping[str, Json]) -> str:
        """The name in the compiled pipeline that a run refers to, asked for once; empty when it cannot be seen."""
        version_id = reference.get("pipeline_version_id", "")
        if version_id and version_id not in self._versions:
            try:
                spec = self.version_spec(reference.get("pipeline_id", ""), version_id)
            except (NotFoundError, LoginError):  # deleted since, or not for this login
                spec = {}
            self._versions[version_id] = name_of(spec)
        return self._versions.get(version_id, "")

    # Recurring runs

    def create_recurring_run(self, body: _Row) -> _Row:
        """Makes a recurring run; not repeated when the answer gets lost."""
        return _ask(api.RecurringRunServiceApi(self._acting).recurring_run_service_create_recurring_run, body)

    def recurring_runs(self) -> list[_Row]:
        """Lists the recurring runs, newest first."""
        recurring = api.RecurringRunServiceApi(self._acting)
        ask = recurring.recurring_run_service_list_recurring_runs
        return list(_pages(ask, "recurringRuns", sort_by="created_at desc", **self._namespace))

    def act_on_recurring(self, verb: str, recurring_id: str) -> None:
        """Does something to a recurring run: enable, disable or delete it."""
        recurring = api.RecurringRunServiceApi(self._acting)
        _ask(getattr(recurring, f"recurring_run_service_{verb}_recurring_run"), recurring_id)

    def page_url(self, run_id: str) -> str:
        """The server's own page about a run."""
        return f"{self.host}/#/runs/details/{run_id}"

    @property
    def short_host(self) -> str:
        """Its name, without scheme and path."""
        return urlsplit(self.host).netloc


def _ask(method: Callable[..., Any], *arguments: Any, **options: Any) -> _Row:  # noqa: ANN401  (the generated client's)
    # The answer is read as plain JSON: an older server may lack a field, a newer one have words nobody knows.
    return read(method(*arguments, _preload_content=False, **options))


def _pages(method: Callable[..., Any], key: str, **options: Any) -> Iterator[_Row]:  # noqa: ANN401  (as above)
    token = ""
    while True:
        found = _ask(method, page_token=token, page_size=PAGE, **options)
        yield from found.get(key, ()) or found.get("recurring_runs", ())
        token = found.get("next_page_token", "")
        if not token:
            return


def _given(words: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in words.items() if value}


def _equals(key: str, value: str) -> _Row:
    return {"operation": "EQUALS", "key": key, "string_value": value}


def _among(key: str, values: Sequence[str]) -> _Row:
    return {"operation": "IN", "key": key, "string_values": {"values": list(values)}}


def _filter(*predicates: _Row) -> str:
    return json.dumps({"predicates": predicates})


def _is_error_of_a_log(text: str) -> bool:
    if not text.rstrip().endswith("}"):
        return False
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and {"error_message", "error_details"} & found.keys() != set() and len(found) <= 2
