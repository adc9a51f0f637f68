"""The words of a ``%%kfp_component`` line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CellOptions:
    """The words of a ``%%kfp_component`` line, as they were typed.

    Attributes:
        name: Name of the step; the function's when empty.
        lang: ``python`` or ``bash``.
        base_image: Image that the step runs in.
        entry: The function that is the step.
        inputs: ``name:type`` or ``name:type=default``.
        outputs: ``name:type``, with ``=file`` for scripts.
        packages: Requirements besides the inferred ones.
        infer: Whether requirements are inferred from imports.
        include: Names of the notebook to copy in.
        context: Folder with a Dockerfile that is the step.
        notebook_step: Notebook that is the step.
        image: Image that was built from `context`.
        cpu: As Kubernetes writes it.
        memory: As Kubernetes writes it.
        gpu: ``[TYPE:]N``.
        timeout: ``90s``, ``1h30m``.
        env: ``K=V``.
        secret: ``NAME:KEY=ENV``.
        secret_volume: ``NAME=PATH``.
        pvc: ``NAME=PATH``.
        label: ``K=V``.
        node_selector: ``K=V``.
        toleration: ``K[=V][:EFFECT]``.
        config_map: ``NAME:KEY=ENV``.
        config_map_volume: ``NAME=PATH``.
        ephemeral_volume: ``NAME=PATH:SIZE``.
        image_pull_secret: Name of a secret.
        annotation: ``K=V``.
        retries: How often a failed attempt is repeated.
        no_cache: Never reuse an earlier result.
    """

    name: str = ""
    lang: str = "python"
    base_image: str = ""
    entry: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    infer: bool = True
    include: tuple[str, ...] = ()
    context: str = ""
    notebook_step: str = ""
    image: str = ""
    cpu: str = ""
    memory: str = ""
    gpu: str = ""
    timeout: str = ""
    env: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    secret_volume: tuple[str, ...] = ()
    pvc: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    node_selector: tuple[str, ...] = ()
    toleration: tuple[str, ...] = ()
    config_map: tuple[str, ...] = ()
    config_map_volume: tuple[str, ...] = ()
    ephemeral_volume: tuple[str, ...] = ()
    image_pull_secret: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    retries: int = 0
    no_cache: bool = False
