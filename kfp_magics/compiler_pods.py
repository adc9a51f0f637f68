"""What a step asks of its machine, said in KFP's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_magics.pods import PodOptions

_KUBERNETES = (
    *("secrets", "secret_volumes", "pvcs", "config_maps", "config_map_volumes", "ephemeral_volumes"),
    *("image_pull_secrets", "annotations", "timeout", "labels", "node_selector", "tolerations"),
)


def apply_pod_options(task: Any, pod: PodOptions) -> None:  # noqa: ANN401  (kfp's own task)
    """Puts the options of a step on its task.

    Args:
        task: kfp's task.
        pod: The options.
    """
    if pod.cpu:
        task.set_cpu_request(pod.cpu).set_cpu_limit(pod.cpu)
    if pod.memory:
        task.set_memory_request(pod.memory).set_memory_limit(pod.memory)
    if pod.gpu:
        task.set_accelerator_type(pod.gpu_type).set_accelerator_limit(pod.gpu)
    for name, value in pod.env.items():
        task.set_env_variable(name, value)
    if pod.retries:
        task.set_retry(pod.retries)
    if not pod.cache:
        task.set_caching_options(False)
    _apply_kubernetes(task, pod)


def _apply_kubernetes(task: Any, pod: PodOptions) -> None:  # noqa: ANN401  (kfp's own task)
    if not any(getattr(pod, name) for name in _KUBERNETES):
        return
    from kfp import kubernetes  # noqa: PLC0415  (imports the Kubernetes client; most steps need none of it)

    _apply_files_and_variables(task, pod)
    if pod.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(pod.image_pull_secrets))
    for key, value in pod.annotations.items():
        kubernetes.add_pod_annotation(task, annotation_key=key, annotation_value=value)
    if pod.timeout:
        kubernetes.set_timeout(task, round(pod.timeout))
    for key, value in pod.labels.items():
        kubernetes.add_pod_label(task, label_key=key, label_value=value)
    for key, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    for one in pod.tolerations:
        kubernetes.add_toleration(task, key=one.key, operator=one.operator, value=one.value, effect=one.effect or None)


def _apply_files_and_variables(task: Any, pod: PodOptions) -> None:  # noqa: ANN401  (kfp's own task)
    from kfp import kubernetes  # noqa: PLC0415  (as above)

    for variable, (secret, key) in pod.secrets.items():
        kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={key: variable})
    for path, secret in pod.secret_volumes.items():
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path=path)
    for path, claim in pod.pvcs.items():
        kubernetes.mount_pvc(task, pvc_name=claim, mount_path=path)
    for variable, (config_map, key) in pod.config_maps.items():
        kubernetes.use_config_map_as_env(task, config_map_name=config_map, config_map_key_to_env={key: variable})
    for path, config_map in pod.config_map_volumes.items():
        kubernetes.use_config_map_as_volume(task, config_map_name=config_map, mount_path=path)
    for path, (name, size) in pod.ephemeral_volumes.items():
        kubernetes.add_ephemeral_volume(
            task, volume_name=name, mount_path=path, access_modes=["ReadWriteOnce"], size=size
        )
