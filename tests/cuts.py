"""Pipelines made by chance: steps in exit handlers, nested pipelines, conditions, branches and loops, in each other."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import count

HEAD = """from kfp import dsl
from typing import List


@dsl.component(base_image="python:3.11-slim")
def first(n: int, table: dsl.Output[dsl.Dataset]) -> int:
    with open(table.path, "w") as file:
        file.write(f"first {n}")
    table.metadata["n"] = n
    return n + 1


@dsl.component(base_image="python:3.11-slim")
def join(a: int, b: int, read: dsl.Input[dsl.Dataset], table: dsl.Output[dsl.Dataset]) -> int:
    text = open(read.path).read()
    with open(table.path, "w") as file:
        file.write(f"{a} {b} ({text} {read.metadata['n']})")
    table.metadata["n"] = len(text)
    return (3 * a + 5 * b + len(text)) % 1009


@dsl.component(base_image="python:3.11-slim")
def total(values: List[int]) -> int:
    return sum(values)


@dsl.component(base_image="python:3.11-slim")
def bye(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@dsl.component(base_image="python:3.11-slim")
def farewell(a: int) -> int:
    return a
"""


@dataclass
class _Maker:
    chance: random.Random
    numbers: count = field(default_factory=lambda: count(1))
    nested: list[str] = field(default_factory=list)

    def block(self, depth: int, values: list[str], tables: list[str], margin: str, size: int) -> list[str]:
        """Some statements; what they make that is seen outside is put to the values and the tables."""
        lines: list[str] = []
        for _ in range(size):
            kinds = ["step"] * 3 + (["if", "one", "nested", "nested", "loop", "deep"] if depth else [])
            lines += getattr(self, f"_{self.chance.choice(kinds)}")(depth, values, tables, margin)
        return lines

    def _step(self, _depth: int, values: list[str], tables: list[str], margin: str) -> list[str]:
        name = f"t{next(self.numbers)}"
        a, b, table = self.chance.choice(values), self.chance.choice(values), self.chance.choice(tables)
        values.append(f'{name}.outputs["Output"]')
        tables.append(f'{name}.outputs["table"]')
        return [f"{margin}{name} = join(a={a}, b={b}, read={table})"]

    def _if(self, depth: int, values: list[str], tables: list[str], margin: str) -> list[str]:
        inside = self.block(depth - 1, list(values), list(tables), f"{margin}    ", 2)
        return [f"{margin}with dsl.If({values[-1]} {self.chance.choice(['!=', '==', '>'])} 7):", *inside]

    def _one(self, depth: int, values: list[str], tables: list[str], margin: str) -> list[str]:
        one, two = f"o{next(self.numbers)}", f"o{next(self.numbers)}"
        lines = [f"{margin}with dsl.If({values[-1]} > {self.chance.choice([0, 5000])}):"]
        for name in (one, two):
            mine, read = list(values), list(tables)
            lines += self.block(depth - 1, mine, read, f"{margin}    ", 1)
            lines += [f"{margin}    {name} = join(a={mine[-1]}, b={mine[0]}, read={read[0]})"]
            lines += [f"{margin}with dsl.Else():"] if name == one else []
        for key, found in (("Output", values), ("table", tables)):
            either = f"e{next(self.numbers)}"
            lines.append(f'{margin}{either} = dsl.OneOf({one}.outputs["{key}"], {two}.outputs["{key}"])')
            found.append(either)
        return lines

    def _nested(self, depth: int, values: list[str], tables: list[str], margin: str) -> list[str]:
        name = f"n{next(self.numbers)}"
        mine, read = ["a", "b"], ["read"]
        body = self.block(depth - 1, mine, read, "    ", 3)
        made = [one for one in mine if one.startswith("t")] or ["a"]
        shown = [one for one in read if one.startswith("t")]
        outputs = ", ".join(("value=int", *(["table=dsl.Dataset"] if shown else [])))
        given = ", ".join((f"value={made[-1]}", *([f"table={shown[-1]}"] if shown else [])))
        if made == ["a"]:
            body += [f"    last{name} = join(a=a, b=b, read=read)"]
            given = given.replace("value=a", f'value=last{name}.outputs["Output"]')
        fields = outputs.replace("=", ": ").replace(", ", "\n    ")
        self.nested.append(
            f"from typing import NamedTuple\n\nclass Out{name}(NamedTuple):\n    {fields}\n\n\n"
            f"@dsl.pipeline\ndef {name}(a: int, read: dsl.Input[dsl.Dataset], b: int = 2) -> Out{name}:\n"
            + "\n".join(body)
            + f"\n    return Out{name}({given})\n"
        )
        call = f"p{next(self.numbers)}"
        lines = [f"{margin}{call} = {name}(a={self.chance.choice(values)}, read={self.chance.choice(tables)})"]
        if self.chance.random() < 0.4:  # the same pipeline twice
            again = f"p{next(self.numbers)}"
            lines.append(f"{margin}{again} = {name}(a={call}.outputs['value'], read={self.chance.choice(tables)}, b=4)")
            call = again
        values.append(f'{call}.outputs["value"]')
        if shown:
            tables.append(f'{call}.outputs["table"]')
        return lines

    def _loop(self, _depth: int, values: list[str], tables: list[str], margin: str) -> list[str]:
        item, name, summed = (f"{word}{next(self.numbers)}" for word in "ils")
        table = self.chance.choice(tables)
        lines = [
            f"{margin}with dsl.ParallelFor([1, 2]) as {item}:",
            f"{margin}    {name} = join(a={item}, b={self.chance.choice(values)}, read={table})",
            f'{margin}{summed} = total(values=dsl.Collected({name}.outputs["Output"]))',
        ]
        values.append(f'{summed}.outputs["Output"]')
        return lines

    def _deep(self, depth: int, values: list[str], tables: list[str], margin: str) -> list[str]:
        return self._if(depth, values, tables, margin)


def source(seed: int) -> str:
    """A Python file with a pipeline ``chance``."""
    maker = _Maker(random.Random(seed))
    values, tables = ['start.outputs["Output"]'], ['start.outputs["table"]']
    body = ["    start = first(n=n)", *maker.block(2, values, tables, "    ", 3)]
    guard = "bye()" if maker.chance.random() < 0.7 else "farewell(a=n)"
    body += [f"    with dsl.ExitHandler({guard}):", *maker.block(2, list(values), list(tables), " " * 8, 4)]
    body += [*maker.block(1, values, tables, "    ", 2), f"    return {[v for v in values if v[0] != 'e'][-1]}"]
    pipeline = "@dsl.pipeline(name='chance')\ndef chance(n: int = 3) -> int:\n" + "\n".join(body) + "\n"
    return "\n\n".join((HEAD, *maker.nested, pipeline))
