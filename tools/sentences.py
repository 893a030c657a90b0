"""The catalog of everything the program can say when something goes wrong, taken from the source.

    python tools/sentences.py            write docs/troubleshooting.md
    python tools/sentences.py --check    exit 1 if that page is not what the source says
    python tools/sentences.py --provoked FOLDER

The last one wants the folder that a test run with GSD_SENTENCES=FOLDER recorded, and exits 1 for
each sentence that no test provoked.
"""

from __future__ import annotations

import argparse
import ast
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gs_diffusion_addon"
PAGE = ROOT / "docs" / "troubleshooting.md"

CODES = {"InputError": 2, "MissingError": 3, "StageError": 4, "WaitError": 5}
MEANING = {
    2: "what was given cannot be used",
    3: "something is not installed or does not answer",
    4: "a stage could not do its work",
    5: "a person or another program was waited for in vain",
}

HEAD = """# What the program says, and what to do

Made by `python tools/sentences.py` from the source; do not edit it by hand. Every error is one
sentence that names the thing and the next step, and the program ends with the number before it:

{meaning}

`{{…}}` stands for what is meant in your case. What a stage's programs printed stands in `logs/` of
the run folder; the same command again goes on where the run ended.
"""


@dataclass(frozen=True)
class Sentence:
    """One place that makes an error: its file in the package, its lines, its words, exit code."""

    file: str
    first: int
    last: int
    words: str
    code: int

    @property
    def name(self) -> str:
        """What identifies it when lines move: the file and the words."""
        return f"{self.file}: {self.words}"


def error_classes(trees: dict[str, ast.Module]) -> dict[str, int]:
    """Names of all error classes and their exit codes, subclasses included."""
    codes = dict(CODES)
    classes = [n for tree in trees.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    for _ in range(3):  # subclasses of subclasses
        for node in classes:
            bases = [b.id for b in node.bases if isinstance(b, ast.Name) and b.id in codes]
            if bases:
                codes.setdefault(node.name, codes[bases[0]])
    return codes


def words_of(node: ast.expr) -> str:
    """A string expression as text, with ``{…}`` for everything that is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(words_of(v) for v in node.values)
    if isinstance(node, ast.IfExp):
        return f"{words_of(node.body)} / {words_of(node.orelse)}"
    if isinstance(node, ast.BinOp):
        return words_of(node.left) + words_of(node.right)
    return "{…}"


def catalog() -> list[Sentence]:
    """Every place of the package where one of its errors is made, in order."""
    trees = {
        p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text(encoding="utf-8"))
        for p in sorted(PACKAGE.rglob("*.py"))
    }
    codes = error_classes(trees)
    found = []
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in codes and node.args:
                words = " ".join(words_of(node.args[0]).split())
                last = node.end_lineno or node.lineno
                found.append(Sentence(file, node.lineno, last, words, codes[node.func.id]))
    return sorted(found, key=lambda s: (s.file, s.first))


def page(sentences: list[Sentence]) -> str:
    """The text of docs/troubleshooting.md, without what is built from other parts alone."""
    meaning = "\n".join(f"- **{code}** {text}" for code, text in MEANING.items())
    lines = [HEAD.format(meaning=meaning)]
    told = [s for s in sentences if s.words.replace("{…}", "").strip(" .")]
    for file, group in groupby(told, lambda s: s.file):
        lines.append(f"\n## {file}\n")
        lines += [f"- **{s.code}** {_plain(s.words)}" for s in group]
    return "\n".join(lines) + "\n"


def _plain(words: str) -> str:
    """Markdown that shows the words as they are."""
    return "".join("\\" + c if c in "*_`<>[]|" else c for c in words)


def provoked(folder: Path, sentences: list[Sentence]) -> list[Sentence]:
    """The sentences that no test made, by the record in ``folder``."""
    seen: set[tuple[str, int]] = set()
    for record in folder.glob("*.txt"):
        for line in record.read_text(encoding="utf-8").splitlines():
            file, _, number = line.rpartition(":")
            seen.add((file, int(number)))
    return [
        s for s in sentences
        if not any((s.file, line) in seen for line in range(s.first, s.last + 1))
    ]  # fmt: skip


def main() -> int:
    """Do what the options say; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--provoked", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    sentences = catalog()
    if given.provoked:
        return _provoked(given.provoked, sentences)
    text = page(sentences)
    if not given.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/troubleshooting.md is not up to date; run 'python tools/sentences.py'.")
    return 1


def _provoked(folder: Path, sentences: list[Sentence]) -> int:
    missing = provoked(folder, sentences)
    print(f"{len(sentences) - len(missing)} of {len(sentences)} sentences were provoked.")
    for s in missing:
        print(f"no test provokes {s.file}:{s.first}: {s.words}")
    if missing:
        print("Add a test for each, or a line in a table of tests/*/test_said_*.py.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
