"""What is to run, as a request or a schedule says it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

from kfp_magics.errors import ArgumentError
from kfp_magics.gateway.specs import ir_of
from kfp_magics.gateway.words import get, message, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.model import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to run.

    Attributes:
        display_name: How it is called.
        description: For people.
        experiment: The experiment's name.
        ir: The compiled pipeline; empty when a version is named.
        pipeline_id: The pipeline of which a version is to run.
        version_id: The version; the newest one when empty.
        parameters: Pipeline parameter → value.
        pipeline_root: Where a cluster would put what the run writes; here it only is remembered.
        service_account: Whose rights the run would have on a cluster; here it only is remembered.
    """

    display_name: str
    description: str = ""
    experiment: str = ""
    ir: str = ""
    pipeline_id: str = ""
    version_id: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    pipeline_root: str = ""
    service_account: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Json], experiment_name: Callable[[str], str], experiment_id: str = "") -> Self:
        """Reads a ``V2beta1Run`` or a ``V2beta1RecurringRun``.

        Args:
            body: The message.
            experiment_name: Gives the name of an experiment.
            experiment_id: Where it stands if the message does not say.

        Raises:
            ArgumentError: It says too much, or not enough.
        """
        reference = message(body, "pipeline_version_reference")
        version_id = text(reference, "pipeline_version_id") or text(body, "pipeline_version_id")
        pipeline_id = text(reference, "pipeline_id")
        spec = get(body, "pipeline_spec")
        if (spec is None) == (not (pipeline_id or version_id)):
            raise ArgumentError(
                "A run needs either a pipeline_spec or a pipeline_version_reference.", "Give one of them."
            )
        config = message(body, "runtime_config")
        return cls(
            display_name=text(body, "display_name"),
            description=text(body, "description"),
            experiment=experiment_name(text(body, "experiment_id") or experiment_id),
            ir=ir_of(spec) if spec is not None else "",
            pipeline_id=pipeline_id,
            version_id=version_id,
            parameters=message(config, "parameters"),
            pipeline_root=text(config, "pipeline_root"),
            service_account=text(body, "service_account"),
        )

    def to_json(self) -> dict[str, Json]:
        """The job as plain JSON values."""
        return asdict(self)
