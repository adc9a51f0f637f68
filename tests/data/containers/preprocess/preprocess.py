import argparse
import csv

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--table", required=True)
given = parser.parse_args()
with open(given.table, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["weeks", "pounds"])
    writer.writerows([week, round(0.2 * week, 1)] for week in range(30, 30 + given.rows))
print(f"wrote {given.rows} rows")
