"""The notebook about delivery, as its story is seen in the panel: a commit builds an image, a file starts a run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.errors import NotFoundError
from kfp_magics.model import State
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.images.registries import Server

from .lab import Lab, document, execute, look_at, rows, serve

# The notebook runs as a test of its own. Here it is the story that counts, with steps that learn next to nothing,
# so that no environment of scikit-learn must be made first.
LIGHT = {
    "def preprocess(": """%%kfp_component
def preprocess(births: Output[Dataset], until: int = 400):
    with open(births.path, "w") as file:
        file.writelines(f"{100 + row / 100}\\n" for row in range(min(until, 1409)))""",
    "def tune(": """%%kfp_component
def tune(births: Input[Dataset]) -> dict:
    return {"digits": 3}""",
    "def train(": """%%kfp_component
import pickle


def train(births: Input[Dataset], settings: dict, model: Output[Model]):
    with open(births.path) as file:
        weights = [float(line) for line in file]
    with open(model.path, "wb") as file:
        pickle.dump((round(sum(weights) / len(weights), settings["digits"]), len(weights)), file)""",
}
APP = {
    "import pandas as pd\n\nlearned": "learned",
    'known = pd.DataFrame([{"MomAge": MomAge, "Weeks": Weeks, "Gained": Gained, "Smoke": Smoke}]).astype(float)': "",
    "float(learned.predict(known)[0])": "learned",
}
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

pytestmark = pytest.mark.browser


@pytest.fixture
def lab(tmp_path: Path, registry: Server, base_image: str, repository: str, monkeypatch) -> Iterator[Lab]:
    """A JupyterLab with the notebook; what the notebook leaves running when it fails halfway is ended."""
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", f"{registry.host}/{repository}")
    monkeypatch.setenv("KFP_MAGICS_BASE_IMAGE", base_image)
    with serve(tmp_path) as made:
        shutil.copy(NOTEBOOKS / "place.py", made.folder)
        nbformat.write(story(), made.folder / "04_cicd.ipynb")
        yield made
    settings = Settings()
    store = Store(settings.store_path)
    try:
        NewData(settings, store).delete("births")
    except NotFoundError:
        pass  # the notebook's last cell did it
    finally:
        store.close()
        shutil.rmtree(made.folder / "build", ignore_errors=True)


def story() -> nbformat.NotebookNode:
    """The notebook, with light steps."""
    notebook = nbformat.read(NOTEBOOKS / "04_cicd.ipynb", as_version=4)
    done = []
    for cell in notebook.cells:
        for sign, light in LIGHT.items():
            if sign in cell.source and cell.source.startswith("%%kfp_component"):
                cell.source = light
                done.append(sign)
        for heavy, light in APP.items() if "def deploy_app(" in cell.source else ():
            assert heavy in cell.source
            cell.source = cell.source.replace(heavy, light)
            done.append(heavy)
    assert sorted(done) == sorted([*LIGHT, *APP, *APP])  # the app is written twice
    return notebook


def test_a_commit_builds_and_a_new_file_trains_by_themselves(browser: Browser, lab: Lab, tmp_path: Path) -> None:
    page = lab.open(browser, "04_cicd.ipynb")
    page.set_viewport_size({"width": 1500, "height": 950})
    execute(page, "kfp-magics:open-panel")
    execute(page, "notebook:run-all-cells")
    whole = rows(page).filter(has_text="babyweight")
    expect(whole).to_have_attribute("data-state", re.compile("running|succeeded"), timeout=60_000)
    whole.click()
    for step in ("preprocess", "tune", "train", "deploy-model", "deploy-app"):
        box = document(page).locator(f".kfpm-box[title='{step}']")
        expect(box).to_have_attribute("data-state", "succeeded", timeout=60_000)
    look_at(page, tmp_path, "delivery-run")
    see_one_image(page, tmp_path)
    see_what_started_it(page, tmp_path)
    expect(page.locator(".jp-Notebook")).to_contain_text("is not watched any more", timeout=60_000)
    expect(page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    page.close()
    store = Store(tmp_path / "home" / "runs.sqlite")
    runs = store.list()
    store.close()
    assert {one.state for one in runs} == {State.SUCCEEDED}
    assert sorted(one.kind for one in runs) == ["build", "pipeline", "pipeline", "try"]
    assert not (lab.folder / "build" / "cicd").exists()
    assert os.listdir(tmp_path / "home" / "watchers") == []


def see_one_image(page: Page, folder: Path) -> None:
    page.locator(".kfpm-row[data-kind='build'][data-state='succeeded']").click(timeout=60_000)
    expect(document(page).locator(".kfpm-box")).to_have_count(1)
    expect(document(page).locator(".kfpm-box")).to_have_attribute("title", "deploy-app")
    images = document(page).locator(".kfpm-values", has_text="Images").locator("tr")
    expect(images).to_contain_text(["/deploy-app@sha256:"])
    look_at(page, folder, "delivery-build")


def see_what_started_it(page: Page, folder: Path) -> None:
    again = rows(page).filter(has_text="train-and-deploy")
    expect(again).to_be_visible(timeout=60_000)
    again.click()
    expect(document(page)).to_contain_text("incoming/births-2.csv")
    expect(again).to_have_attribute("data-state", "succeeded", timeout=60_000)
    for step in ("given-births", "train", "deploy-model", "deploy-app"):
        expect(document(page).locator(f".kfpm-box[title='{step}']")).to_have_attribute("data-state", "succeeded")
    look_at(page, folder, "delivery-new-file")
