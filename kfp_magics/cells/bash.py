"""Bash scripts as steps: inputs as arguments and variables, outputs from files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kfp_magics.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kfp_magics.model import Component, Port

_START = "_kfp_start=$(mktemp); trap 'rm -f \"$_kfp_start\"' EXIT; "
_COLLECT = """_kfp_collect() {
if [ ! -e "$2" ] || [ "$_kfp_start" -nt "$2" ]; then
echo "The script wrote no file $2 for its output $1." >&2; exit 3
fi
mkdir -p "$(dirname "$3")"; cp -R "$2" "$3"
}
"""
_RESERVED = frozenset(
    {"PATH", "IFS", "_", "UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "BASH_ENV", "LD_PRELOAD"}
)


def check_ports(component: Component) -> None:
    """Refuses ports that a shell has no names for.

    Raises:
        DefinitionError: Which one, and why.
    """
    for port in (*component.inputs, *component.outputs):
        if port.name in _RESERVED:
            raise DefinitionError(f"The name {port.name!r} means something to bash itself.", "Give it another name.")
        if port.is_list:
            raise DefinitionError(f"A script cannot take the list {port.name!r}.", "Write the step in Python.")


def bash_command(component: Component) -> tuple[list[str], list[str]]:
    """Writes the container's command and arguments.

    Values reach the script as arguments, never as part of its text. Line N of the script is line N of the cell, and
    the script stops at the first command that fails. It runs in a subshell, so that its own ``exit``, ``cd`` and traps
    end with it; then its files are collected.

    Args:
        component: A step in bash.

    Returns:
        Command and arguments, with KFP's placeholders.
    """
    arguments: list[str] = []
    prelude = _START if any(port.file for port in component.outputs) else ""
    positional: list[str] = []
    for port in component.inputs:
        position = len(arguments) + 1
        if port.optional:
            arguments.append(_if_present(port))
            # One placeholder that expands to two arguments.
            arguments.append("")
            prelude += f'if [ "${{{position}}}" = 1 ]; then export {port.name}="${{{position + 1}}}"; fi; '
            positional.append(f'"${{{position + 1}}}"')
        else:
            arguments.append(_input(port))
            prelude += f'export {port.name}="${{{position}}}"; '
            positional.append(f'"${{{position}}}"')
    files = []
    for port in component.outputs:
        position = len(arguments) + 1
        arguments.append(_output(port))
        prelude += f'_kfp_out_{port.name}="${{{position}}}"; '
        if port.file:
            files.append(f'_kfp_collect {port.name} {_quoted(port.file)} "$_kfp_out_{port.name}"\n')
        else:
            prelude += f'export {port.name}="${{{position}}}"; mkdir -p "$(dirname "${port.name}")"; '
    prelude += f"set -- {' '.join(positional)}; ( :"
    body = component.source.partition("\n")[2]
    collect = _COLLECT + "".join(files) if files else ""
    given = [one for n, one in enumerate(arguments) if not (one == "" and n and arguments[n - 1].startswith('{"If'))]
    return ["bash", "-ec", f"{prelude}\n{body}\n)\n{collect}", component.name], given


def _input(port: Port) -> str:
    return (
        f"{{{{$.inputs.parameters['{port.name}']}}}}"
        if port.is_parameter
        else (f"{{{{$.inputs.artifacts['{port.name}'].path}}}}")
    )


def _output(port: Port) -> str:
    return (
        f"{{{{$.outputs.parameters['{port.name}'].output_file}}}}"
        if port.is_parameter
        else (f"{{{{$.outputs.artifacts['{port.name}'].path}}}}")
    )


def _if_present(port: Port) -> str:
    return json.dumps({"IfPresent": {"InputName": port.name, "Then": ["1", _input(port)], "Else": ["0", ""]}})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def collecting(ports: Iterable[Port]) -> tuple[str, list[str]]:
    """Writes a script that runs its arguments as a command and then collects the files of outputs.

    Args:
        ports: Outputs that name a file.

    Returns:
        The script, for any POSIX shell; and the placeholders that come before the command.
    """
    ports = list(ports)
    takes = "".join(f'_kfp_out_{port.name}="$1"; shift; ' for port in ports)
    files = "".join(f'_kfp_collect {port.name} {_quoted(port.file)} "$_kfp_out_{port.name}"\n' for port in ports)
    return f'{_START}{takes}\n"$@"\n{_COLLECT}{files}', [_output(port) for port in ports]


def arguments_by_flag(component: Component) -> Iterator[str]:
    """Yields ``--name value`` for every port but those whose files are collected, as a folder's container gets them."""
    for port in component.inputs:
        if port.optional:
            then = [f"--{port.name}", _input(port)]
            yield json.dumps({"IfPresent": {"InputName": port.name, "Then": then}})
        else:
            yield from (f"--{port.name}", _input(port))
    for port in component.outputs:
        if not port.file:
            yield from (f"--{port.name}", _output(port))
