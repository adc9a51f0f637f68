"""What stays when a notebook is saved and opened elsewhere: HTML without a script, and text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kfp_magics.backends.connections import Checked, parse
from kfp_magics.live import ArtifactFile
from kfp_magics.model import Artifact, Failure, Run, State, Task
from kfp_magics.pods import PodOptions, Toleration
from kfp_magics.trying import Trial
from kfp_magics.widgets.cards import ArtifactsTable, RunsTable, TrialCard, _pod_text
from kfp_magics.widgets.html import pipeline_html, run_html
from kfp_magics.widgets.pipeline import PipelineView
from kfp_magics.widgets.servers import CheckedCard

EXAMPLE = Run.from_json(json.loads((Path(__file__).parent.parent / "data" / "run.json").read_text(encoding="utf-8")))
EVIL = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>&"


class Page(HTMLParser):
    """Reads HTML and holds it to what is balanced and harmless."""

    VOID = frozenset({"input", "br", "img"})
    HARMLESS = frozenset(
        [
            "div",
            "h4",
            "style",
            "input",
            "label",
            "b",
            "i",
            "span",
            "svg",
            "path",
            "pre",
            "table",
            "tr",
            "th",
            "td",
            "br",
        ]
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in self.HARMLESS, tag
        for name, _ in attributes:
            assert not name.startswith("on"), name
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


def test_the_example_reads_without_a_script() -> None:
    page = Page(run_html(EXAMPLE, {"ingest": "printed\nby ingest"}))
    names = [one["id"] for one in page.all("input")]
    assert len(names) == len(EXAMPLE.tasks) == len(set(names))
    assert {one["for"] for one in page.all("label")} == set(names)
    assert EXAMPLE.name in page.words
    assert "printed\nby ingest" in page.words
    for task in EXAMPLE.tasks:
        assert task.id in page.words
        for artifact in task.artifacts:
            assert artifact.uri in page.words
        if task.error:
            assert task.error.message in page.words
    failed = next(task for task in EXAMPLE.tasks if task.state is State.FAILED and task.kind == "step")
    (checked,) = [one["id"] for one in page.all("input") if "checked" in one]
    assert checked == names[EXAMPLE.tasks.index(failed)]


def test_nothing_that_a_step_says_is_executed() -> None:
    artifact = Artifact(name=EVIL, io="output", type=EVIL, uri=EVIL, metadata={EVIL: EVIL, "n": {EVIL: [EVIL]}})
    failure = Failure(message=EVIL, hint=EVIL, line=1, text=EVIL, traceback=EVIL)
    evil = Task(
        id=EVIL,
        name=EVIL,
        state=State.FAILED,
        inputs={EVIL: EVIL},
        outputs={EVIL: [EVIL]},
        artifacts=(artifact, replace(artifact, io="input")),
        error=failure,
        reason=EVIL,
    )
    tasks = (evil, Task(id="b", name="b", needs=(EVIL,)), Task(id="loop", name=EVIL, kind="loop"))
    run = Run(id=EVIL, name=EVIL, state=State.FAILED, tasks=tasks, parameters={EVIL: EVIL}, error=failure)
    page = Page(run_html(run, {EVIL: EVIL}))
    assert page.words.count("<script>") > 10
    page = Page(pipeline_html(EVIL, tasks))
    assert EVIL in page.words
    for card in (RunsTable([run]), ArtifactsTable(run, tasks), TrialCard(Trial(run=run, outputs={EVIL: EVIL}))):
        page = Page(card._repr_html_())
        assert page.words == repr(card)
        assert "<script>" in page.words


def test_two_views_in_one_notebook_do_not_share_names() -> None:
    first, second = (Page(run_html(EXAMPLE)) for _ in range(2))
    assert not {one["name"] for one in first.all("input")} & {one["name"] for one in second.all("input")}


def test_a_large_run_is_a_list() -> None:
    tasks = tuple(Task(id=f"t{n}", name=f"t{n}", needs=(f"t{n - 1}",) if n else ()) for n in range(400))
    html = run_html(Run(id="r", name="r", tasks=tasks))
    page = Page(html)
    assert len(list(page.all("label"))) == 400
    assert not list(page.all("svg"))
    assert len(html) < 300_000


def test_groups_lie_around_their_members() -> None:
    page = Page(pipeline_html("p", EXAMPLE.tasks))
    places = {
        str(one["title"]): [float(n) for n in re.findall(r"(-?[\d.]+)px", str(one["style"]))]
        for one in page.all("label")
    }
    for task in EXAMPLE.tasks:
        if task.parent:
            left, top, width, height = places[task.id]
            outer = places[task.parent]
            assert outer[0] <= left
            assert outer[1] <= top
            assert left + width <= outer[0] + outer[2]
            assert top + height <= outer[1] + outer[3]


def test_as_text() -> None:
    view = PipelineView(
        "p", (Task(id="a", name="a"), Task(id="g", name="g", kind="loop"), Task(id="g/b", name="b", parent="g"))
    )
    assert repr(view).splitlines() == ["pipeline p", "  · a", "  · g", "    · b"]
    assert "white-space:pre;" in RunsTable([])._repr_html_()  # columns stay columns in a narrow cell
    said = Checked(connection=parse("https://pipelines.example"), server="KFP", remarks=("word " * 50,))
    assert "white-space:pre-wrap;" in CheckedCard(said)._repr_html_()


def test_the_pod_in_words() -> None:
    pod = PodOptions(
        cpu="2",
        gpu=1,
        gpu_type="nvidia.com/gpu",
        secrets={"PW": ("db", "key")},
        env={"A": "hidden"},
        timeout=90,
        cache=False,
    )
    assert _pod_text(pod) == "cpu 2, gpu 1 × nvidia.com/gpu, env A, secrets PW, timeout 1 m 30 s, cache off"
    cluster = PodOptions(
        pvcs={"/data": "wares"},
        ephemeral_volumes={"/tmp/x": ("scratch", "1Gi")},
        config_maps={"MODE": ("house", "mode")},
        node_selector={"disk": "ssd"},
        tolerations=(Toleration(key="gpu", value="yes"), Toleration(key="spot", operator="Exists")),
        labels={"team": "a"},
        annotations={"note": "long text"},
        image_pull_secrets=("reg",),
    )
    assert _pod_text(cluster) == (
        "config maps MODE, volumes wares at /data, scratch (1Gi) at /tmp/x, nodes disk=ssd, tolerates gpu=yes, spot, "
        "labels team=a, annotations note, pulls with reg"
    )


def test_a_report_is_shown_where_its_scripts_reach_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_text("<p title='a\"b'>ü</p><script>parent.alert(1)</script>", encoding="utf-8")
    html = ArtifactFile(name="page", path=str(path), type="system.HTML")._repr_html_()
    assert html is not None
    assert "<iframe sandbox srcdoc='" in html
    assert "<script>" not in html
    assert "'" not in html.partition("srcdoc='")[2].partition("' style=")[0]
    assert ArtifactFile(name="page", path=str(path), type="system.Dataset")._repr_html_() is None


@pytest.mark.parametrize("state", State)
def test_every_state_is_drawn(state: State) -> None:
    run = Run(id="r", name="r", state=state, tasks=(Task(id="a", name="a", state=state),))
    assert str(state) in Page(run_html(run)).words
    assert " 1 step " in run_html(run)


def test_a_run_says_which_new_data_started_it() -> None:
    assert "started by" not in run_html(EXAMPLE)
    shown = run_html(replace(EXAMPLE, started_by=f"trigger: gs://data/{EVIL}"))
    assert "started by gs://data/&lt;script&gt;" in shown
    assert EVIL not in shown


def test_a_run_that_nobody_can_ask_about_says_since_when_and_counts_no_second_more() -> None:
    step = Task(id="t", name="t", state=State.RUNNING, started=997.0)
    ended = Task(id="e", name="e", state=State.SUCCEEDED, started=995.0, finished=996.0)
    run = Run(id="r", name="r", state=State.RUNNING, started=995.0, tasks=(ended, step))
    shown = run_html(replace(run, stale=1000.0, stale_reason=f"the server fails {EVIL}"))
    assert "stale since" in shown
    assert "the server fails &lt;script&gt;" in shown
    assert set(re.findall(r"[\d.]+ s\b", shown)) == {"5.0 s", "3.0 s", "1.0 s"}
    assert "stale" not in run_html(run)
