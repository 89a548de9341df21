"""Texts: streams, columns, and the Penn Treebank's loader on a small archive in its format."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from egret import tasks
from egret.sampling import draw
from egret.tasks import Text, treebank
from egru.errors import EgretError
from egru.testing import random_image

TRAIN = " the cat <unk> N \n the dog 's cat \n\n"
VALID = " the dog \n"
TEST = " cat N cat \n the \n"
SOURCE = f'''penn = {{}}
penn["train"] = """{TRAIN}"""
penn["valid"] = """{VALID}"""
penn["test"] = """{TEST}"""
'''


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and the numbers of tokens of the small texts."""
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path))
    monkeypatch.setattr(treebank, "WORDS", {"vocabulary": 7, "train": 10, "validation": 3, "test": 6})
    counts = {"vocabulary": 18, "train": 31, "validation": 8, "test": 14}
    monkeypatch.setattr(treebank, "CHARACTERS", counts)
    return tmp_path


def put(cache: Path, monkeypatch, source: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo(treebank.MEMBER)
        entry.size = len(source.encode())
        archive.addfile(entry, io.BytesIO(source.encode()))
    (cache / treebank.ARCHIVE.filename).write_bytes(out.getvalue())
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    monkeypatch.setattr(treebank, "ARCHIVE", replace(treebank.ARCHIVE, sha256=digest))


def read(text: Text, part: str) -> list[str]:
    return [text.vocabulary[token] for token in text.part(part)]


def a_text(length: int = 23) -> Text:
    stream = np.arange(length, dtype=np.int64)
    return Text("some", "word", tuple(map(str, range(length))), stream, stream[:5], stream[:2])


# Penn Treebank


def test_words_come_in_order_and_every_line_is_closed(cache, monkeypatch):
    put(cache, monkeypatch, SOURCE)
    text = tasks.load_text("ptb-word")
    assert (text.unit, text.input_size, text.num_classes) == ("word", 7, 7)
    assert read(text, "train") == ["the", "cat", "<unk>", "N", "<eos>", "the", "dog", "'s", "cat", "<eos>"]
    assert read(text, "test") == ["cat", "N", "cat", "<eos>", "the", "<eos>"]
    assert text.vocabulary == ("<eos>", "cat", "the", "'s", "<unk>", "N", "dog")


def test_characters_come_in_order_with_one_space_between_words_and_line_feeds(cache, monkeypatch):
    put(cache, monkeypatch, SOURCE)
    text = tasks.load_text("ptb-char")
    assert text.unit == "character"
    assert "".join(read(text, "train")) == "the cat <unk> N\nthe dog 's cat\n"
    assert "".join(read(text, "validation")) == "the dog\n"
    assert list(text.vocabulary) == sorted(text.vocabulary)


def test_the_source_is_parsed_and_not_run(cache, monkeypatch):
    put(cache, monkeypatch, f"import os\nos.mkdir({str(cache / 'made')!r})\n{SOURCE}raise SystemExit\n")
    assert len(tasks.load_text("ptb-word").train) == 10
    assert not (cache / "made").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SOURCE.replace('penn["valid"]', "valid"), "must assign the texts valid$"),
        (SOURCE.replace('"""' + TEST, 'str() + """' + TEST), "must assign the texts test$"),
        ("penn = (", "must be Python"),
        (SOURCE.replace(" the dog \n", " the bird \n"), "every word .* but not 'bird'"),
        (SOURCE.replace(" the dog \n", " the dog dog \n"), r"must have the numbers of tokens .*, not .*: 4,"),
    ],
)
def test_a_source_without_the_texts_is_refused(cache, monkeypatch, source, message):
    put(cache, monkeypatch, source)
    with pytest.raises(EgretError, match=message):
        tasks.load_text("ptb-word")


# Streams


def test_columns_read_on_where_their_neighbours_end_and_drop_the_rest():
    columns = a_text().columns("train", 4)
    np.testing.assert_array_equal(columns.T, np.arange(20).reshape(4, 5))
    assert columns.flags.c_contiguous and columns.dtype == np.int64
    np.testing.assert_array_equal(a_text().columns("train", 1)[:, 0], np.arange(23))


@pytest.mark.parametrize("batch", [0, -1, 12])
def test_columns_without_a_token_to_predict_are_refused(batch):
    with pytest.raises(
        EgretError, match=rf"batch must be 1\.\.11 for the train part of task some, not {batch}"
    ):
        a_text().columns("train", batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "syllable"}, "unit must be one of character, word"),
        ({"vocabulary": ("a",) * 23}, "every token once"),
        ({"train": np.zeros(5, np.int32)}, "the train part .* stream of at least 2 int64"),
        ({"validation": np.zeros((5, 1), np.int64)}, "the validation part .* stream of at least 2 int64"),
        ({"test": np.zeros(1, np.int64)}, "the test part .* stream of at least 2 int64"),
        ({"test": np.array([0, 23])}, r"tokens of the test part .* must lie in 0\.\.22"),
        ({"test": np.array([0, -1])}, r"tokens of the test part .* must lie in 0\.\.22"),
    ],
)
def test_streams_that_make_no_sense_are_refused(change, message):
    with pytest.raises(EgretError, match=message):
        replace(a_text(), **change)


# Passages


def test_passages_are_one_hot_and_the_label_is_the_token_that_follows():
    text = a_text()
    stream = text.train
    passages = text.passages("train", 5)
    assert len(passages) == (len(stream) - 1) // 5
    for number, (x, label) in enumerate(zip(passages.x, passages.y, strict=True)):
        assert x.shape == (5, 23) and set(np.unique(x)) == {0, 1} and (x.sum(1) == 1).all()
        assert x.argmax(1).tolist() == stream[5 * number : 5 * number + 5].tolist()
        assert label == stream[5 * number + 5]


def test_a_part_without_a_passage_and_a_large_vocabulary_are_refused():
    text = a_text()
    with pytest.raises(
        EgretError, match=f"steps must be below {len(text.train)} for the train part of task some"
    ):
        text.passages("train", len(text.train))
    words = replace(text, vocabulary=tuple(str(n) for n in range(257)))
    with pytest.raises(EgretError, match="must have at most 256 different tokens, and some has 257"):
        words.passages("train", 5)


def test_an_accelerator_of_a_text_is_given_passages_of_its_test_part(monkeypatch):
    text = replace(a_text(), name="ptb-char", test=np.arange(250) % 23)
    monkeypatch.setattr(tasks, "load_text", lambda name: text)
    rng = np.random.default_rng(1)
    network = random_image(rng, inputs=23, units=(4,), classes=23, mode="every")
    played, labels = draw(network, "ptb-char", 2, seed=1)
    assert [x.shape for x in played] == [(100, 23)] * 2
    assert sorted(labels.tolist()) == sorted(text.test[[100, 200]].tolist())
    with pytest.raises(EgretError, match="samples must be at most 2, the test part of ptb-char, not 3"):
        draw(network, "ptb-char", 3, seed=1)


# Names


def test_texts_and_labelled_sequences_are_told_apart():
    assert [name for name in tasks.NAMES + tasks.TEXT_NAMES if tasks.is_text(name)] == [
        "ptb-char",
        "ptb-word",
        "wikitext-2",
    ]
    assert tasks.check_text_name("ptb-char") == "ptb-char"
    with pytest.raises(EgretError, match=r"ptb-word is a text, .* choose one of digits, har, "):
        tasks.load("ptb-word")
    with pytest.raises(EgretError, match="task digits is not a text: choose one of ptb-char, ptb-word"):
        tasks.load_text("digits")


def test_an_unknown_name_is_answered_with_every_name():
    with pytest.raises(EgretError) as caught:
        tasks.check_name("text8")
    assert f"one of {', '.join(tasks.NAMES + tasks.TEXT_NAMES)}, not 'text8'" in str(caught.value)
