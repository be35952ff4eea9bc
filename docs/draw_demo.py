"""Draws docs/demo.svg: the commands below with what they really print.

    python docs/draw_demo.py COLLECTION

The collection is one of `examples/sqlite`; `make demo` makes it.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    ["index", "info"],
    ["ask", "What is the maximum size of a database file?"],
    ["search", "write-ahead log checkpoint", "--top-k", "1"],
)
WIDTH = 96


def main() -> None:
    """Run the commands and write the picture beside this file."""
    collection = sys.argv[1]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for command in COMMANDS:
        position = 2 if command[0] == "index" else 1
        line = [*command[:position], collection, *command[position:]]
        shown = " ".join(f'"{word}"' if " " in word else word for word in line)
        console.print(Text(f"$ rag {shown}", style="bold green"))
        done = subprocess.run(
            [Path(sys.executable).parent / "rag", *line],
            env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        console.print(Text.from_ansi(done.stdout.strip("\n")))
        console.print()
    svg = console.export_svg(title="ragmeter")
    # No font is fetched: the reader's own monospaced one will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "monospace")
    Path(__file__).with_name("demo.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
