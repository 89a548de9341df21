"""WikiText-2 by word, from files that the user has: ``wiki.train.tokens`` and its like.

The files hold words with spaces between them; rare words stand there as ``<unk>``. Each line, an empty one
too, is closed by ``<eos>``. The vocabulary is that of the training part; another word counts as ``<unk>``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from egru.errors import EgretError
from egru.untrusted import TEXT_BYTES_MAX, UnreadableError, read_file, shown

from .text import Text
from .treebank import END

FILES = {"train": "wiki.train.tokens", "validation": "wiki.valid.tokens", "test": "wiki.test.tokens"}
UNKNOWN = "<unk>"


def load(directory: Path | None) -> Text:
    """Load ``wikitext-2`` from a directory; the most frequent word of the training part has the number 0.

    Raises EgretError, naming the files, without a directory or where one of them cannot be read.
    """
    if directory is None:
        names = ", ".join(FILES.values())
        raise EgretError(f"task wikitext-2 needs --data, the directory with {names}: it is not fetched")
    words: dict[str, list[str]] = {}
    for part, name in FILES.items():
        try:
            text = read_file(directory / name, TEXT_BYTES_MAX).decode("utf-8")
        except UnreadableError as error:
            raise EgretError(f"{shown(directory / name)} must be a file of words in UTF-8: {error}") from None
        except UnicodeDecodeError as error:
            raise EgretError(
                f"{shown(directory / name)} must be a file of words in UTF-8: byte {error.start} is not"
            ) from None
        words[part] = [w for line in text.splitlines() for w in (*line.split(), END)]
    counted = Counter(words["train"])
    vocabulary = sorted(counted, key=lambda word: (-counted[word], word))
    number = {word: i for i, word in enumerate(vocabulary)}
    unknown = sorted({w for part in words.values() for w in part} - number.keys())
    if unknown and UNKNOWN not in number:
        raise EgretError(
            f"{directory / FILES['train']} must hold {UNKNOWN}: {unknown[0]!r} stands in another part only"
        )
    streams = {
        part: np.array([number.get(w, number.get(UNKNOWN, 0)) for w in tokens], dtype=np.int64)
        for part, tokens in words.items()
    }
    return Text("wikitext-2", "word", tuple(vocabulary), **streams)
