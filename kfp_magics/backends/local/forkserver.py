"""A warm process that forks one process per task.

Run by path, inside a step's environment: it uses the standard library and KFP's runtime only. It reads one JSON object
a line from its standard input and writes one a line to its standard output::

    {"start": ID, "task": FILE, "log": FILE, "folder": FOLDER, "env": {…}, "quota": BYTES}  → {"id": ID, "pid": PID}
    {"signal": NUMBER, "id": ID}
                                                                   … in the end → {"id": ID, "status": CODE or -SIGNAL}

A task file holds either a command to execute or a module to run with KFP's executor. When the input ends, because the
supervisor has ended or was killed, everything is killed. With ``--once FILE`` one task runs in this very process.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import resource
import selectors
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

_HEADER = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MODULE = "ephemeral_component"
_LONGEST = 20_000  # characters of a traceback that are kept


class Server:
    """Forks tasks and reports how they end; one thread, so that forking is safe."""

    def __init__(self) -> None:
        self._events = os.dup(1)
        os.dup2(2, 1)  # whatever a library prints on import must not look like an event
        self._commands = os.dup(0)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123  (a descriptor is all that is wanted)
            os.dup2(nothing.fileno(), 0)
        self._tasks: dict[int, str] = {}
        self._wakeup, self._bell = os.pipe()
        for end in (self._wakeup, self._bell):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> None:
        """Works until the input ends."""
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._commands, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select()]
                if self._wakeup in ready:
                    os.read(self._wakeup, 4096)
                self._reap()
                if self._commands in ready:
                    piece = os.read(self._commands, 1 << 16)
                    if not piece:
                        self._kill_all()
                        return
                    *lines, pending = (pending + piece).split(b"\n")
                    for line in lines:
                        self._obey(json.loads(line))

    def _obey(self, command: dict[str, Any]) -> None:
        if "signal" in command:
            for pid, name in self._tasks.items():
                if name == command["id"]:
                    _end_task(pid, command["signal"])
            return
        sys.stdout.flush()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(command, server, (self._events, self._commands, self._wakeup, self._bell))
        self._tasks[pid] = command["start"]
        self._tell(id=command["start"], pid=pid)

    def _tell(self, **event: Any) -> None:  # noqa: ANN401  (JSON)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._events, json.dumps(event).encode() + b"\n")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._tasks.pop(pid, None)
            if name is not None:
                _kill_group(pid, signal.SIGKILL)
                self._kill_orphans()
                self._tell(id=name, status=os.waitstatus_to_exitcode(status))

    def _kill_orphans(self) -> None:
        # A running task is the reaper of its own orphans; what now is a child of ours belonged to one that has ended.
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split()
            for pid in map(int, children):
                if pid not in self._tasks:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for pid in self._tasks:
            _end_task(pid, signal.SIGKILL)
        self._kill_orphans()


def _end_task(pid: int, number: int) -> None:
    """Sends a signal to a task that was not reaped yet; one that was just forked has no group of its own so far."""
    with contextlib.suppress(PermissionError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)


def _kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415  (Linux only)

    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _child(command: dict[str, Any], server: int, inherited: tuple[int, ...]) -> NoReturn:
    """Becomes the task; never returns."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for file in inherited:
            os.close(file)
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it ended before it could be the reason to end
            os._exit(code)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        log = os.open(command["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.chdir(command["folder"])
        if command["quota"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (command["quota"], command["quota"]))
        os.environ.clear()
        os.environ.update(command["env"])
        code = run(Path(command["task"]))
    except BaseException:  # noqa: BLE001  (a forked child must never go back into the server)
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run(file: Path) -> int:
    """Carries out the task of a file: replaces this process by its command, or runs its module with KFP's executor.

    Returns:
        The exit code.
    """
    task = json.loads(file.read_text(encoding="utf-8"))
    if task.get("command"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        try:
            os.execvpe(task["command"][0], task["command"], os.environ)  # noqa: S606  (executing it is the task)
        except OSError as error:
            sys.stderr.write(f"{task['command'][0]}: {error.strerror}\n")
            return 126 if isinstance(error, PermissionError) else 127
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        code = _run_module(task)
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  (what the interpreter does at its end)
        atexit._run_exitfuncs()  # noqa: SLF001
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return code


def _run_module(task: dict[str, Any]) -> int:
    module = Module(task)
    try:
        function = module.load()
        from kfp.dsl.executor import Executor  # noqa: PLC0415  (imported before the fork)

        Executor(executor_input=task["executor_input"], function_to_execute=function).execute()
    except SystemExit as ended:
        if ended.code in {None, 0}:
            return 0
        module.report(ended)
        if not isinstance(ended.code, int):
            sys.stderr.write(f"{ended.code}\n")
        raise
    except BaseException as error:  # noqa: BLE001  (whatever the step raises is reported with its line)
        module.report(error)
        return 1
    return 0


class Module:
    """The text of a step, its lines counted as the person who wrote it counts them.

    Args:
        task: The task.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._label = f"<{task['label'] or 'step ' + repr(task['function'])}>"

    def load(self) -> Any:  # noqa: ANN401  (the user's function)
        """Executes the module and gives the step's function."""
        task = self._task
        text = task["module"]
        header = _HEADER if text.startswith(_HEADER) else ""
        padding = header.count("\n") + task["line_offset"]
        body = "\n" * max(0, padding) + text.removeprefix(header)
        # Worker processes of the step (joblib, multiprocessing) import the module by its name from a file.
        folder = Path(task["folder"])
        (folder / f"{_MODULE}.py").write_text(text, encoding="utf-8")
        sys.path.insert(0, str(folder))
        module = ModuleType(_MODULE)
        module.__file__ = str(folder / f"{_MODULE}.py")
        sys.modules[_MODULE] = module
        import linecache  # noqa: PLC0415  (traceback has imported it)

        shown = task["cell"] or body
        linecache.cache[self._label] = (len(shown), None, shown.splitlines(keepends=True), self._label)
        exec(compile(header, "<kfp>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102  (KFP's own imports)
        exec(compile(body, self._label, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  (the step)
        return getattr(module, task["function"])

    def report(self, error: BaseException) -> None:
        """Prints the traceback from the step's first frame on, and writes down what a person needs to know."""
        first = self._first_frame(error.__traceback__)
        stack = traceback.TracebackException(type(error), error, first)
        text = "".join(stack.format())
        sys.stderr.write(text)
        line = stack.lineno if isinstance(error, SyntaxError) and stack.filename == self._label else None
        own = [frame for frame in stack.stack if frame.filename == self._label]
        # What was copied into the step stands behind the cell, which has no such line: then the line that called it.
        seen = [frame for frame in own if not self._task["cell"] or frame.lineno <= self._task["cell_lines"]] or own
        number = int(line) if line else seen[-1].lineno if seen else None
        lines = (self._task["cell"] or "").splitlines()
        shown = seen[-1].line if seen else lines[number - 1] if number and number <= len(lines) else ""
        short = "".join(traceback.format_list(own) + list(stack.format_exception_only())) if own else text
        message = "".join(stack.format_exception_only()).strip().splitlines()[-1]
        failure = {
            "message": message if not isinstance(error, SystemExit) else f"sys.exit({error.code!r})",
            "hint": _hint(error),
            "cell_id": self._task["cell_id"],
            "line": number,
            "text": (shown or "").strip(),
            "traceback": short[-_LONGEST:],
        }
        Path(self._task["folder"], "failure.json").write_text(json.dumps(failure), encoding="utf-8")

    def _first_frame(self, frame: TracebackType | None) -> TracebackType | None:
        found = frame
        while found is not None and found.tb_frame.f_code.co_filename != self._label:
            found = found.tb_next
        return found


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"The step's environment has no {package!r}: import it in the cell, or name it with --packages."
    if isinstance(error, MemoryError):
        return "The step needs more memory than this machine has free."
    if isinstance(error, OSError) and error.errno == 27:  # EFBIG
        return "The step wrote more than its disk quota allows (setting disk_quota)."
    return ""


def main() -> None:
    """Serves, or carries out one task."""
    if sys.argv[1] == "--once":
        code = run(Path(sys.argv[2]))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    server = Server()
    if sys.argv[1] == "--warm":
        with contextlib.suppress(ImportError):  # the task itself will say so
            import kfp.dsl.executor  # noqa: F401, PLC0415  (so that no task has to)
    gc.collect()
    gc.freeze()  # what the children never change stays shared
    server.serve()


if __name__ == "__main__":
    main()
