"""Which roles the code of steps needs, and which line is the reason."""

from __future__ import annotations

import json
import textwrap

import pytest

from kfp_magics.cells.options import CellOptions
from kfp_magics.delivery.auth.needs import Need, needs_of, smallest
from kfp_magics.delivery.auth.scripts import uses_in_script
from kfp_magics.delivery.auth.uses import uses_of
from kfp_magics.session import Session

READ, WRITE, OWN = "roles/storage.objectViewer", "roles/storage.objectUser", "roles/storage.objectAdmin"
JOBS, TABLES, EDIT = "roles/bigquery.jobUser", "roles/bigquery.dataViewer", "roles/bigquery.dataEditor"


def roles(source: str) -> set[tuple[str, str]]:
    return {(use.role, use.on) for use in uses_of(textwrap.dedent(source)).uses}


CLOUD_STORAGE = {
    "reading": ('storage.Client().bucket("wares").blob("x").download_as_bytes()', READ, "gs://wares"),
    "listing": ('[print(one.name) for one in storage.Client().list_blobs("wares")]', READ, "gs://wares"),
    "writing": ('storage.Client().bucket("wares").blob("x").upload_from_string("x")', WRITE, "gs://wares"),
    "deleting": ('storage.Client().bucket(name).blob("x").delete()', WRITE, ""),
    "publishing": ('storage.Client().bucket("wares").blob("x").make_public()', OWN, "gs://wares"),
    "open to read": ('storage.Client().bucket("wares").blob("x").open()', READ, "gs://wares"),
    "open to write": ('storage.Client().bucket("wares").blob("x").open("wb")', WRITE, "gs://wares"),
    "open in a mode of somebody else": ('storage.Client().bucket("wares").blob("x").open(mode)', WRITE, "gs://wares"),
    "looking at a bucket": ('storage.Client().get_bucket("wares")', "roles/storage.bucketViewer", "gs://wares"),
    "making a bucket": ("storage.Client().create_bucket(name)", "roles/storage.admin", ""),
    "given away": ("somewhere.keep(storage.Client())", OWN, ""),
    "only imported": ("pass", OWN, ""),
    "by the address of an object": ('storage.Blob.from_string("gs://wares/x").download_as_text()', READ, "gs://wares"),
    "through transfer_manager": ("transfer_manager.download_many(pairs)", READ, ""),
}


@pytest.mark.parametrize("what", CLOUD_STORAGE)
def test_cloud_storage_by_what_is_called(what) -> None:
    body, role, on = CLOUD_STORAGE[what]
    found = roles(
        f"from google.cloud import storage\nfrom google.cloud.storage import transfer_manager\ndef f(): {body}\n"
    )
    assert found == {(role, on)}


OTHERS = {
    "from google.cloud import bigquery\nbigquery.Client().query('SELECT 1').to_dataframe()": {TABLES, JOBS},
    "from google.cloud import bigquery\nbigquery.Client().query(f'select * from {table}')": {TABLES, JOBS},
    "from google.cloud import bigquery\nbigquery.Client().query('DELETE FROM t WHERE true')": {EDIT, JOBS},
    "from google.cloud import bigquery\nbigquery.Client().query(statement)": {EDIT, JOBS},
    "from google.cloud import bigquery\nbigquery.Client().load_table_from_dataframe(rows, 't')": {EDIT, JOBS},
    "import pandas as pd\npd.read_gbq('SELECT 1')": {TABLES, JOBS},
    "import pandas as pd\npd.DataFrame().to_gbq('t')": {EDIT, JOBS},
    "from google.cloud import aiplatform\naiplatform.init()": {"roles/aiplatform.user"},
    "import vertexai": {"roles/aiplatform.user"},
    "from google.cloud import pubsub_v1\npubsub_v1.PublisherClient()": {"roles/pubsub.publisher"},
    "from google.cloud import pubsub_v1\npubsub_v1.SubscriberClient()": {"roles/pubsub.subscriber"},
    "from google.cloud import firestore": {"roles/datastore.user"},
    "from google.cloud import logging": {"roles/logging.logWriter"},
    "from google.cloud.sql.connector import Connector": {"roles/cloudsql.client"},
    "from googleapiclient.discovery import build\nbuild('bigquery', 'v2')": set(),
    "import logging, storage, bigquery": set(),
}


@pytest.mark.parametrize("source", OTHERS)
def test_other_services(source) -> None:
    assert {role for role, _ in roles(source)} == OTHERS[source]


def test_a_secret_that_is_named_is_the_only_one_that_may_be_read() -> None:
    source = """
    from google.cloud import secretmanager as sm
    def f(project: str):
        sm.SecretManagerServiceClient().access_secret_version(name=f"projects/{project}/secrets/token/versions/latest")
    """
    assert roles(source) == {("roles/secretmanager.secretAccessor", "secret:token")}
    assert roles(source.replace('f"projects/{project}/secrets/token/versions/latest"', "project")) == {
        ("roles/secretmanager.secretAccessor", "")
    }


def test_clients_are_followed_through_names_functions_and_loops() -> None:
    found = uses_of(
        textwrap.dedent("""
        from google.cloud import storage as gcs

        PLACE = "wares"

        def keep(bucket, name, text):
            bucket.blob(name).upload_from_string(text)

        def client():
            return gcs.Client()

        def step(names: list):
            with client() as opened:
                for name in names:
                    keep(opened.bucket(PLACE), name, "x")
        """)
    )
    [use] = found.uses
    assert (use.role, use.on, use.line) == (WRITE, "gs://wares", 7)
    assert use.text == "bucket.blob(name).upload_from_string(text)"


def test_two_buckets_are_not_the_whole_project() -> None:
    source = """
    from google.cloud import storage
    def f():
        one, two = storage.Client().bucket("one-1"), storage.Client().bucket("two-2")
        two.blob("x").upload_from_string(one.blob("x").download_as_bytes())
    """
    assert roles(source) == {(role, f"gs://{name}") for role in (READ, WRITE) for name in ("one-1", "two-2")}


def test_addresses_of_buckets_count_without_a_client() -> None:
    source = '''
    import pandas as pd
    def f(bucket: str):
        """Reads gs://documentation/x and is no reason."""
        rows = pd.read_csv("gs://wares/in.csv")
        rows.to_csv("gs://results/out.csv")
        pd.read_csv(f"gs://{bucket}/more.csv")
        open("/gcs/mounted/file")
    '''
    assert roles(source) == {(READ, "gs://wares"), (WRITE, "gs://results"), (READ, ""), (WRITE, "gs://mounted")}


def test_a_service_that_is_not_known_is_said() -> None:
    assert uses_of("from google.cloud import orgpolicy_v2\n").remarks == (
        (1, "google.cloud.orgpolicy_v2 is not known here: which role it needs stands in its documentation"),
    )
    assert uses_of("from google.cloud.exceptions import NotFound\n").remarks == ()


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("gsutil cp gs://wares/x .", {(READ, "gs://wares")}),
        ("gsutil -m cp x.csv gs://wares/", {(WRITE, "gs://wares")}),
        ("gcloud storage cp gs://wares/x gs://results/", {(READ, "gs://wares"), (WRITE, "gs://results")}),
        ("gcloud storage rm gs://wares/x", {(WRITE, "gs://wares")}),
        ('echo "$(gsutil cat gs://wares/x)" | wc', {(READ, "gs://wares")}),
        ("gsutil cp $from .", {(WRITE, "")}),
        ("# gsutil cp gs://wares/x .", set()),
        ("bq query --nouse_legacy_sql 'SELECT 1'", {(EDIT, ""), (JOBS, "")}),
        ("bq head shop:t", {(TABLES, ""), (JOBS, "")}),
        ("gcloud ai models upload --region x", {("roles/aiplatform.user", "")}),
    ],
)
def test_scripts(line, needed) -> None:
    assert {(use.role, use.on) for use in uses_in_script(line).uses} == needed


def test_a_role_that_another_one_contains_is_left_out_and_its_reasons_stay() -> None:
    needs = [
        Need(role=READ, on="gs://a", reasons=("one",)),
        Need(role=WRITE, on="gs://a", reasons=("two",)),
        Need(role=READ, on="gs://b", reasons=("three",)),
        Need(role=TABLES, on="", reasons=("four",)),
        Need(role=EDIT, on="", reasons=("five",)),
    ]
    assert [(one.role, one.on, one.reasons) for one in smallest(needs)] == [
        (WRITE, "gs://a", ("two", "one")),
        (READ, "gs://b", ("three",)),
        (EDIT, "", ("five", "four")),
    ]


def test_every_kind_of_step_is_looked_at(settings, tmp_path) -> None:
    session = Session(settings, {})
    session.component(
        "from google.cloud import storage\ndef f():\n    storage.Client().bucket('a1b').blob('x').reload()\n",
        CellOptions(),
    )
    session.component("gsutil cp x gs://script/", CellOptions(name="script", lang="bash"))
    session.component(
        "import pandas\nrows = pandas.read_csv('gs://statements/x')\nn = 1",
        CellOptions(name="plain", outputs=("n:int",)),
    )
    session.component(
        "from kfp import dsl\n@dsl.component(base_image='python:3.11')\ndef own():\n    import vertexai\n",
        CellOptions(),
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM python\nENTRYPOINT python main.py\n")
    (folder / "main.py").write_text("from google.cloud import firestore\n")
    (folder / "broken.py").write_text("def\n")
    (folder / "go.sh").write_text("\ngsutil rm gs://folder/x\n")
    session.component("", CellOptions(name="folder", context=str(folder)))
    cells = [
        {
            "cell_type": "code",
            "source": ["from google.cloud import spanner"],
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    (tmp_path / "report.ipynb").write_text(json.dumps(notebook))
    session.component("", CellOptions(name="report", notebook_step=str(tmp_path / "report.ipynb")))
    session.pipeline(
        "def whole():\n    dsl.importer(artifact_uri='gs://imported/x', artifact_class=dsl.Dataset)\n    f()\n"
    )
    found = needs_of(session.definitions)
    reasons = {(one.role, one.on): one.reasons[0] for one in found.needs}
    assert reasons[READ, "gs://a1b"] == "step f, line 4: storage.Client().bucket('a1b').blob('x').reload()"
    assert reasons[WRITE, "gs://script"] == "step script, line 2: gsutil cp x gs://script/"
    assert reasons[READ, "gs://statements"].startswith("step plain, line 3: ")
    assert reasons["roles/aiplatform.user", ""] == "step own, line 5: import vertexai"
    assert reasons["roles/datastore.user", ""].startswith("step folder, main.py, line 1: ")
    assert reasons[WRITE, "gs://folder"].startswith("step folder, go.sh, line 2: ")
    assert reasons["roles/spanner.databaseUser", ""].startswith("step report")
    assert reasons[READ, "gs://imported"].startswith("pipeline whole, line 3: ")
    assert found.remarks == ("step folder, broken.py, line 1: the file does not parse (invalid syntax).",)
    assert "spanner.googleapis.com" in found.apis
