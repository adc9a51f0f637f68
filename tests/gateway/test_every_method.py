"""All that the official client offers, by its own account: what a new version of it adds is noticed here."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp
import kfp_server_api
import pytest
from kfp_server_api.exceptions import ApiException
from starlette.routing import Match

from kfp_magics.gateway.app import Gateway as Inside
from kfp_magics.settings import Settings
from tests.gateway.pipelines import doubling, resting
from tests.gateway.servers import Gateway
from tests.local.conftest import ir_of

NOT_OFFERED = {
    "auth_service_authorize": "who may do what in a namespace",
    "dummy_filter_service_get_filter": "a place for a message, and no operation",
    "report_service_report_scheduled_workflow": "for the parts of a cluster among themselves",
    "report_service_report_workflow": "as above",
    "visualization_service_create_visualization_v1": "drawn by a cluster's pages",
}


class Story:
    """Each method of the client once, in an order in which each has something to do.

    Args:
        gateway: The server.
        folder: For files.
    """

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway, self.folder = gateway, folder
        self.client = gateway.client()
        self.package = str(folder / "compiled.yaml")
        ir_of(doubling, folder)
        self.made = SimpleNamespace()

    def get_kfp_healthz(self) -> None:
        assert self.client.get_kfp_healthz(sleep_duration=0).multi_user is False

    def set_user_namespace(self) -> None:
        """The client keeps it in a file of the user's, and so it gets a home of its own."""
        code = (
            "import os, kfp\n"
            "client = kfp.Client(host=os.environ['DOOR'], existing_token=os.environ['TOKEN'])\n"
            "client.set_user_namespace('mine')\n"
            "print(client.get_user_namespace(), client.list_experiments().experiments[0].display_name)\n"
        )
        env = os.environ | {"HOME": str(self.folder), "DOOR": self.gateway.url, "TOKEN": self.gateway.token}
        words = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        self.made.namespace, first = done.stdout.split()[-2:]
        assert first == "Default"

    def get_user_namespace(self) -> None:
        assert self.made.namespace == "mine"

    def create_experiment(self) -> None:
        made = self.client.create_experiment("told", description="a story", namespace="any")
        self.made.experiment = made.experiment_id
        assert (made.display_name, made.description, made.storage_state) == ("told", "a story", "AVAILABLE")
        assert self.client.create_experiment("told").experiment_id == made.experiment_id

    def get_experiment(self) -> None:
        by_id = self.client.get_experiment(experiment_id=self.made.experiment)
        assert by_id == self.client.get_experiment(experiment_name="told")
        with pytest.raises(ValueError, match="No experiment is found"):
            self.client.get_experiment(experiment_name="nobody's")

    def list_experiments(self) -> None:
        page = self.client.list_experiments(page_size=1, sort_by="created_at desc", namespace="any")
        assert (page.experiments[0].display_name, page.total_size) == ("told", 2)
        rest = self.client.list_experiments(page_token=page.next_page_token, page_size=1)
        assert (rest.experiments[0].display_name, rest.next_page_token) == ("Default", None)

    def archive_experiment(self) -> None:
        self.client.archive_experiment(self.made.experiment)
        assert self.client.get_experiment(self.made.experiment).storage_state == "ARCHIVED"

    def unarchive_experiment(self) -> None:
        self.client.unarchive_experiment(self.made.experiment)
        assert self.client.get_experiment(self.made.experiment).storage_state == "AVAILABLE"

    def upload_pipeline(self) -> None:
        made = self.client.upload_pipeline(self.package, pipeline_name="sums", description="all", namespace="any")
        self.made.pipeline = made.pipeline_id
        assert (made.display_name, made.description) == ("sums", "all")

    def upload_pipeline_from_pipeline_func(self) -> None:
        made = self.client.upload_pipeline_from_pipeline_func(resting, pipeline_name="rests", description="d")
        assert (made.name, made.description) == ("rests", "d")

    def get_pipeline(self) -> None:
        assert self.client.get_pipeline(self.made.pipeline).name == "sums"

    def get_pipeline_id(self) -> None:
        assert self.client.get_pipeline_id("sums") == self.made.pipeline
        assert self.client.get_pipeline_id("nothing") is None

    def list_pipelines(self) -> None:
        page = self.client.list_pipelines(page_size=1, sort_by="display_name asc")
        assert ([one.name for one in page.pipelines], page.total_size) == (["rests"], 2)

    def upload_pipeline_version(self) -> None:
        made = self.client.upload_pipeline_version(self.package, "second", pipeline_id=self.made.pipeline)
        self.made.version = made.pipeline_version_id
        assert (made.name, made.pipeline_id) == ("second", self.made.pipeline)

    def upload_pipeline_version_from_pipeline_func(self) -> None:
        made = self.client.upload_pipeline_version_from_pipeline_func(resting, "third", pipeline_name="sums")
        assert made.pipeline_spec["pipelineInfo"]["name"] == "resting"
        self.made.third = made.pipeline_version_id

    def get_pipeline_version(self) -> None:
        got = self.client.get_pipeline_version(self.made.pipeline, self.made.version)
        assert got.pipeline_spec["root"]["inputDefinitions"]["parameters"]["number"]["defaultValue"] == 21

    def list_pipeline_versions(self) -> None:
        wanted = json.dumps({"predicates": [{"operation": "NOT_EQUALS", "key": "name", "string_value": "second"}]})
        page = self.client.list_pipeline_versions(self.made.pipeline, sort_by="created_at", filter=wanted)
        assert [one.name for one in page.pipeline_versions] == ["sums", "third"]

    def run_pipeline(self) -> None:
        run = self.client.run_pipeline(
            self.made.experiment,
            "by version",
            params={"number": 3},
            pipeline_id=self.made.pipeline,
            version_id=self.made.version,
            pipeline_root="gs://b/root",
            enable_caching=False,
            service_account="robot",
        )
        self.made.run = run.run_id
        assert (run.service_account, run.runtime_config.pipeline_root) == ("robot", "gs://b/root")

    def create_run_from_pipeline_func(self) -> None:
        made = self.client.create_run_from_pipeline_func(
            doubling, {"number": 4}, run_name="of a function", experiment_id=self.made.experiment, enable_caching=False
        )
        assert made.wait_for_run_completion(timeout=60).state == "SUCCEEDED"

    def create_run_from_pipeline_package(self) -> None:
        made = self.client.create_run_from_pipeline_package(
            self.package, {"number": 5}, run_name="of a file", experiment_name="told", cache_key="mine"
        )
        assert made.run_info.experiment_id == self.made.experiment

    def wait_for_run_completion(self) -> None:
        run = self.client.wait_for_run_completion(self.made.run, timeout=60, sleep_duration=0.1)
        assert (run.state, run.run_details.task_details[0].state) == ("SUCCEEDED", "SUCCEEDED")

    def get_run(self) -> None:
        run = self.client.get_run(self.made.run)
        assert run.pipeline_version_reference.pipeline_version_id == self.made.version

    def list_runs(self) -> None:
        page = self.client.list_runs(page_size=2, sort_by="display_name", experiment_id=self.made.experiment)
        assert ([run.display_name for run in page.runs], page.total_size) == (["by version", "of a file"], 3)
        told = {"operation": "EQUALS", "key": "experiment_id", "string_value": self.made.experiment}
        assert self.client.list_runs(filter=json.dumps({"predicates": [told]})).total_size == 3

    def archive_run(self) -> None:
        self.client.archive_run(self.made.run)
        assert self.client.get_run(self.made.run).storage_state == "ARCHIVED"

    def unarchive_run(self) -> None:
        self.client.unarchive_run(self.made.run)
        assert self.client.get_run(self.made.run).storage_state == "AVAILABLE"

    def terminate_run(self) -> None:
        run_id = self.client.create_run_from_pipeline_func(resting, experiment_name="told").run_id
        self.client.terminate_run(run_id)
        deadline = time.monotonic() + 60
        while self.client.get_run(run_id).state != "CANCELED":
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def delete_run(self) -> None:
        self.client.delete_run(self.made.run)
        with pytest.raises(ApiException, match="There is no run"):
            self.client.get_run(self.made.run)

    def create_recurring_run(self) -> None:
        made = self.client.create_recurring_run(
            self.made.experiment,
            "nightly",
            description="at night",
            start_time="2040-01-01T00:00:00Z",
            end_time="2041-01-01T00:00:00Z",
            cron_expression="0 0 3 * * *",
            max_concurrency=2,
            no_catchup=True,
            params={"number": 7},
            pipeline_id=self.made.pipeline,
            version_id=self.made.version,
        )
        self.made.recurring = made.recurring_run_id
        schedule = made.trigger.cron_schedule
        assert (schedule.cron, schedule.start_time.year, schedule.end_time.year) == ("0 0 3 * * *", 2040, 2041)
        assert (made.max_concurrency, made.no_catchup, made.status) == ("2", True, "ENABLED")

    def get_recurring_run(self) -> None:
        assert self.client.get_recurring_run(self.made.recurring).runtime_config.parameters == {"number": 7}

    def list_recurring_runs(self) -> None:
        page = self.client.list_recurring_runs(experiment_id=self.made.experiment, sort_by="created_at desc")
        assert [one.display_name for one in page.recurring_runs] == ["nightly"]

    def disable_recurring_run(self) -> None:
        self.client.disable_recurring_run(self.made.recurring)
        assert self.client.get_recurring_run(self.made.recurring).status == "DISABLED"

    def enable_recurring_run(self) -> None:
        self.client.enable_recurring_run(self.made.recurring)
        assert self.client.get_recurring_run(self.made.recurring).status == "ENABLED"

    def disable_job(self) -> None:
        with pytest.warns(DeprecationWarning, match="is deprecated"):
            self.client.disable_job(self.made.recurring)
        assert self.client.get_recurring_run(self.made.recurring).mode == "DISABLE"

    def enable_job(self) -> None:
        with pytest.warns(DeprecationWarning, match="is deprecated"):
            self.client.enable_job(self.made.recurring)
        assert self.client.get_recurring_run(self.made.recurring).mode == "ENABLE"

    def delete_recurring_run(self) -> None:
        self.client.delete_recurring_run(self.made.recurring)
        assert self.client.list_recurring_runs().recurring_runs is None

    def delete_job(self) -> None:
        with (
            pytest.warns(DeprecationWarning, match="is deprecated"),
            pytest.raises(ApiException, match="There is no recurring run"),
        ):
            self.client.delete_job(self.made.recurring)

    def delete_pipeline_version(self) -> None:
        self.client.delete_pipeline_version(self.made.pipeline, self.made.version)
        with pytest.raises(ApiException, match="has no version"):
            self.client.get_pipeline_version(self.made.pipeline, self.made.version)

    def delete_pipeline(self) -> None:
        self.client.delete_pipeline_version(self.made.pipeline, self.made.third)
        (last,) = self.client.list_pipeline_versions(self.made.pipeline).pipeline_versions
        self.client.delete_pipeline_version(self.made.pipeline, last.pipeline_version_id)
        self.client.delete_pipeline(self.made.pipeline)
        assert self.client.get_pipeline_id("sums") is None

    def delete_experiment(self) -> None:
        self.client.delete_experiment(self.made.experiment)
        with pytest.raises(ApiException, match="There is no experiment"):
            self.client.get_experiment(self.made.experiment)


def methods_of(kind: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a class, in the order in which they are written."""
    return {name: one for name, one in vars(kind).items() if inspect.isfunction(one) and not name.startswith("_")}


def test_the_story_tells_of_every_method_of_the_client():
    assert set(methods_of(Story)) == set(methods_of(kfp.Client))


def test_every_method_of_the_client_works(gateway: Gateway, tmp_path: Path):
    story = Story(gateway, tmp_path)
    for method in methods_of(Story).values():
        method(story)


def operations() -> Iterator[tuple[str, str, str]]:
    """Every operation of the generated client: its name, its HTTP method and its path."""
    for kind_name, kind in inspect.getmembers(kfp_server_api, inspect.isclass):
        if kind_name.endswith("Api"):
            for name, one in methods_of(kind).items():
                if name.endswith("_with_http_info"):
                    found = re.search(r"call_api\(\s*'([^']+)', '([A-Z]+)'", inspect.getsource(one))
                    yield name.removesuffix("_with_http_info"), found[2], found[1]


def test_every_operation_of_the_api_has_a_route_or_a_reason(settings: Settings):
    inside = Inside(settings)
    routes = inside.app("a-token-for-this-test").routes
    without = set()
    for name, method, path in operations():
        scope = {"type": "http", "method": method, "path": re.sub(r"\{[^}]+\}", "x", path), "headers": []}
        if not any(route.matches(scope)[0] is Match.FULL for route in routes):
            without.add(name)
    inside.store.close()
    assert without == set(NOT_OFFERED)
