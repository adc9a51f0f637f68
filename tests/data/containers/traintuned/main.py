"""Fits a line through the table, on the base image as it is."""

import argparse
import csv
import json
import pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--table", required=True)
parser.add_argument("--rate", type=float, required=True)
parser.add_argument("--model", required=True)
given = parser.parse_args()
with open(given.table) as file:
    rows = [(float(row["weeks"]), float(row["pounds"])) for row in csv.DictReader(file)]
slope = sum(x * y for x, y in rows) / sum(x * x for x, _ in rows)
folder = pathlib.Path(given.model)
folder.mkdir(parents=True)
(folder / "model.json").write_text(json.dumps({"slope": round(slope, 6), "rate": given.rate}))
