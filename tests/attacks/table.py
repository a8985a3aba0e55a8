"""The table of the threat model, made of what was measured: `python -m tests.attacks.table`.

With `--write` it goes into the document.
"""

import json
import sys
from collections.abc import Mapping

from . import baseline, ours
from .corpus import HERE, load

DOCUMENT = HERE.parent.parent / "docs" / "explanation" / "security.md"
KINDS = ("points", "secrets", "harm")
BEGIN, END = "<!-- table: python -m tests.attacks.table --write -->", "<!-- end of table -->"


def table() -> str:
    """Families of attacks, how many there are, and what they achieve against plain nbgrader and here, in Markdown."""
    plain = json.loads(baseline.DATA.read_text())["attacks"]
    here = json.loads(ours.DATA.read_text())["attacks"]
    families: dict[str, list[str]] = {}
    for attack in load():
        families.setdefault(attack.family, []).append(attack.id)
    lines = [
        "| Family | Attacks | Unearned points: plain nbgrader | here | Secrets read: plain nbgrader | here "
        "| Harm: plain nbgrader | here |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    totals = [0] * 7
    for family, ids in families.items():
        row = [len(ids)]
        for kind in KINDS:
            row += [_count(plain, ids, kind), _count(here, ids, kind)]
        totals = [total + number for total, number in zip(totals, row, strict=True)]
        lines.append(f"| {family} | {' | '.join(map(str, row))} |")
    lines.append(f"| **All** | {' | '.join(f'**{total}**' for total in totals)} |")
    achieved = [
        sum(any(results[name][kind] for kind in KINDS) for ids in families.values() for name in ids)
        for results in (plain, here)
    ]
    lines += [
        "",
        f"{achieved[0]} of the {totals[0]} attacks achieve something with plain nbgrader, {achieved[1]} here.",
    ]
    return "\n".join(lines)


def _count(results: Mapping[str, dict], ids: list[str], kind: str) -> int:
    return sum(bool(results[name][kind]) for name in ids)


def with_table(document: str) -> str:
    """The document with the present table between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main() -> None:
    """Print the table, or put it into the document."""
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
