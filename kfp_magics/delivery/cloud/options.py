"""How functions in the cloud are asked for: the same words in a notebook and in a shell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import ArgumentError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

FOLDER = "functions"
"""The folder in which functions are written."""
CREATE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--on", {"default": "", "metavar": "PATTERN", "help": "Which new objects count: 'gs://bucket/prefix*'."}),
    ("--apply", {"action": "store_true", "help": "Deploy the function; without it that is only shown."}),
    ("--region", {"default": "", "help": "Where the function is; near its bucket when left out."}),
    ("--service-account", {"default": "", "metavar": "EMAIL", "help": "Whose rights the function has."}),
    (
        "--secret",
        {
            "action": "append",
            "default": [],
            "metavar": "VARIABLE=SECRET[:VERSION]",
            "help": "A secret of Secret Manager that the function reads from a variable.",
        },
    ),
    ("--vpc-connector", {"default": "", "metavar": "NAME", "help": "How it reaches servers inside a network."}),
    (
        "--claims",
        {
            "default": "",
            "metavar": "gs://BUCKET/FOLDER",
            "help": "What remembers which objects started runs; .kfp-magics of the bucket itself when left out.",
        },
    ),
    ("--service", {"action": "store_true", "help": "Deploy a Cloud Run service from an image of our own builders."}),
    ("--registry", {"default": "", "metavar": "HOST/PATH", "help": "Where the image of a service goes."}),
    ("--base-image", {"default": "", "metavar": "IMAGE", "help": "What the image of a service stands on."}),
    ("--replace", {"action": "store_true", "help": "Also replace files of the function that were changed by hand."}),
)
"""The options of ``create``."""
TEST: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--connected", {"action": "store_true", "help": "test starts the run where runs go; here when left out."}),
)
"""The options of ``test``."""
SHARED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--dir", {"default": FOLDER, "metavar": "DIR", "help": f"Folder of functions; '{FOLDER}' when left out."}),
)
"""The options of both."""
_SECRET = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<secret>[A-Za-z0-9_-]+(:([0-9]+|latest))?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudOptions:
    """How a function is deployed.

    Attributes:
        folder: Where functions are written.
        apply: Whether it is done, or only shown.
        region: Where the function is; near its bucket when empty.
        account: Service account whose rights it has.
        secrets: Variable → ``SECRET`` or ``SECRET:VERSION`` of Secret Manager.
        connector: VPC connector by which it reaches servers that the internet does not.
        claims: ``gs://BUCKET/FOLDER`` that remembers objects; a folder of the bucket itself when empty.
        replace: Also replace files that were changed by hand.
        service: Whether it is a Cloud Run service, not a Cloud Function.
        registry: Where the image of a service goes.
        base_image: What the image of a service stands on.
    """

    folder: Path
    apply: bool
    region: str
    account: str
    secrets: Mapping[str, str]
    connector: str
    claims: str
    replace: bool
    service: bool
    registry: str
    base_image: str

    @classmethod
    def of(cls, words: Namespace) -> CloudOptions:
        """Reads what was typed.

        Raises:
            ArgumentError: A secret stands where the name of one is meant.
        """
        found = [_SECRET.fullmatch(one) for one in words.secret]
        if not all(found):
            raise ArgumentError(
                "--secret takes the name of a secret of Secret Manager, not what is in it.",
                "Write --secret VARIABLE=SECRET, or --secret VARIABLE=SECRET:VERSION",
            )
        return cls(
            folder=Path(words.dir),
            apply=words.apply,
            region=words.region,
            account=words.service_account,
            secrets={one["key"]: one["secret"] for one in found if one},
            connector=words.vpc_connector,
            claims=words.claims,
            replace=words.replace,
            service=words.service,
            registry=words.registry,
            base_image=words.base_image,
        )
