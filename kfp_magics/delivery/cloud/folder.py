"""The folder of a function: everything that it needs to start runs, and nothing of kfp-magics."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery import newdata
from kfp_magics.delivery.newdata.rules import Rule, RuleError
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.delivery.cloud.target import Target

ENTRY = "on_finalized"
"""The function that Cloud Functions calls."""
CLAIMS = ".kfp-magics"
"""The folder of a bucket that remembers which objects started runs."""
COPIED = ("__init__.py", "claims.py", "function.py", "once.py", "rules.py", "submit.py")
RUNTIME = "3.12"
"""The Python of functions."""
REQUIREMENTS = (
    "functions-framework==3.10.2",
    "google-cloud-storage==3.17.1",
    "PyYAML==6.0.3",
    "requests==2.34.2",
)
"""What a function imports, pinned; the same wherever runs go."""
_SOURCE = Path(newdata.__file__).parent
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # what a zip can say


def function_files(rule: Rule, ir: str, target: Target, claims: str = "") -> dict[str, bytes]:
    """Everything that is in a function's folder: path → content.

    Args:
        rule: Which objects start a run, and with what parameters.
        ir: The compiled pipeline.
        target: Where runs go.
        claims: ``gs://BUCKET/FOLDER`` that remembers objects; a folder of the bucket itself when empty.
    """
    rule, claims = guarded(rule, target, claims)
    plain = rule.to_json()
    source = plain.pop("function")
    files = {
        "main.py": (_SOURCE / "main.py").read_bytes(),
        **{f"newdata/{name}": (_SOURCE / name).read_bytes() for name in COPIED},
        "rule.json": _json(plain),
        "pipeline.yaml": ir.encode(),
        "target.json": _json({**target.facts, "claims": claims}),
        "requirements.txt": "".join(f"{line}\n" for line in REQUIREMENTS).encode(),
        **target.files,
    }
    return files | ({"parameters.py": source.encode()} if source else {})


def guarded(rule: Rule, target: Target, claims: str = "") -> tuple[Rule, str]:
    """A rule that ignores what it must not be started by, and where objects are remembered.

    What the function itself remembers of objects, and what runs write below their root, start nothing.

    Raises:
        DeliveryError: The rule is not about a bucket, or could not work there.
    """
    if not rule.on.startswith("gs://"):
        raise DeliveryError(
            f"A function in the cloud waits for objects of a bucket, and {rule.on!r} is none.",
            "Write --on 'gs://BUCKET/PREFIX*'; for a folder here: %kfp_cd watch DIR",
        )
    bucket = bucket_of(rule.on)
    claims = (claims or f"gs://{bucket}/{CLAIMS}/{rule.name}").rstrip("/")
    if not claims.startswith("gs://") or bucket_of(claims) == claims.removeprefix("gs://"):
        raise DeliveryError(f"{claims!r} is no folder of a bucket.", "Write gs://BUCKET/FOLDER")
    root = target.facts.get("pipeline_root", "").rstrip("/")
    own = [f"{claims}/", f"gs://{bucket}/{CLAIMS}/", *([f"{root}/"] if root.startswith("gs://") else [])]
    try:
        return replace(rule, ignore=tuple(dict.fromkeys((*rule.ignore, *own)))), claims
    except RuleError as error:
        raise DeliveryError(error.message, error.hint) from error


def bucket_of(uri: str) -> str:
    """The bucket of ``gs://bucket/…``."""
    return uri.removeprefix("gs://").partition("/")[0]


def packed(files: Mapping[str, bytes]) -> bytes:
    """A folder as a zip: the same files give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _EARLIEST)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[path])
    return target.getvalue()


def digest(files: Mapping[str, bytes]) -> str:
    """What tells one content of a folder from all others."""
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())}
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:32]


def read_folder(folder: Path) -> dict[str, bytes]:
    """Reads what was written of a function.

    Raises:
        DeliveryError: There is no function.
    """
    if not (folder / "rule.json").is_file() or not (folder / "main.py").is_file():
        raise DeliveryError(
            f"There is no function in {str(folder)!r}.", "Write it: %kfp_cd create --on gs://… --run PIPELINE key=$uri"
        )
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name != "kfp-magics.lock"}


def rule_in(files: Mapping[str, bytes]) -> Rule:
    """Reads the rule of a function's folder.

    Raises:
        DeliveryError: It does not read.
    """
    try:
        rule = json.loads(files["rule.json"]) | {"function": files.get("parameters.py", b"").decode()}
        return Rule.from_json(rule)
    except (ValueError, TypeError) as error:
        raise DeliveryError(f"The file rule.json does not read: {error}", "Write the function again.") from error


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
