"""Kill hundreds of writers at random moments and check what they leave.

    python -m benchmarks.durability_soak --rounds 500

Each writer adds, replaces, removes and compacts until SIGKILL ends it. Then a reader or a writer
opens the collection: every operation that had returned has to be there whole, the one under way
wholly or not at all for each of its transactions, both searches have to find exactly what is
stored, and `verify` has to find nothing. The first violation ends the run with an error.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.indexes.crashing import kill_at_random


def main() -> None:
    """Run the soak and print what it did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="writers to kill")
    parser.add_argument("--seed", type=int, default=0, help="decides what they do and when")
    parser.add_argument("--folder", type=Path, help="where; a temporary directory by default")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with TemporaryDirectory(dir=arguments.folder) as folder:
        done = kill_at_random(Path(folder) / "collection", arguments.rounds, arguments.seed)
    seconds = time.perf_counter() - started
    print(f"kills                {arguments.rounds}")
    print(f"operations returned  {done}")
    print("violations           0")
    print(f"seconds              {seconds:.0f}")


if __name__ == "__main__":
    main()
