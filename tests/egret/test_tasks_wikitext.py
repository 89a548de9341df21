"""WikiText-2 from the user's files."""

import pytest

from egret import tasks
from egru.errors import EgretError


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "wiki.train.tokens").write_text(" \n = Gold dollar = \n \n the <unk> the dollar \n", "utf-8")
    (tmp_path / "wiki.valid.tokens").write_text(" the gold \n", "utf-8")
    (tmp_path / "wiki.test.tokens").write_text(" the dollar \n \n", "utf-8")
    return tmp_path


def words(text, part):
    return [text.vocabulary[i] for i in text.part(part)]


def test_words_and_ends_of_lines_come_in_order_and_unknown_words_as_such(directory):
    text = tasks.load_text("wikitext-2", directory)
    assert (text.name, text.unit) == ("wikitext-2", "word")
    expected = "<eos> = Gold dollar = <eos> <eos> the <unk> the dollar <eos>"
    assert " ".join(words(text, "train")) == expected
    assert words(text, "validation") == ["the", "<unk>", "<eos>"]
    assert words(text, "test") == ["the", "dollar", "<eos>", "<eos>"]
    assert text.vocabulary == ("<eos>", "=", "dollar", "the", "<unk>", "Gold")


def test_without_a_directory_the_error_names_option_and_files():
    with pytest.raises(EgretError, match=r"wikitext-2 needs --data, .* wiki\.train\.tokens, wiki\.valid"):
        tasks.load_text("wikitext-2")


def test_a_missing_file_and_a_word_without_unk_are_refused(directory):
    (directory / "wiki.train.tokens").write_text("the dollar \n", "utf-8")
    with pytest.raises(EgretError, match="must hold <unk>: 'gold' stands in another part only"):
        tasks.load_text("wikitext-2", directory)
    (directory / "wiki.test.tokens").unlink()
    with pytest.raises(EgretError, match=r"wiki\.test\.tokens must be a file of words in UTF-8"):
        tasks.load_text("wikitext-2", directory)


def test_a_directory_for_a_text_that_is_fetched_is_refused(tmp_path):
    with pytest.raises(EgretError, match="a directory must not be given for ptb-char"):
        tasks.load_text("ptb-char", tmp_path)
