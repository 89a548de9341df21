import json

import pytest

from egret.files import as_json, write_pages, write_report
from egret.picture import new_figure, svg
from egru.errors import EgretError


def test_pages_appear_in_a_directory_that_is_made_and_replace_older_ones(tmp_path):
    directory = tmp_path / "a" / "b"
    write_pages(directory, {"page.md": "old", "figures.json": as_json({"x": 1})})
    write_pages(directory, {"page.md": "é\n", "picture.svg": b"<svg/>"})
    assert {p.name for p in directory.iterdir()} == {"page.md", "figures.json", "picture.svg"}
    assert (directory / "page.md").read_bytes() == "é\n".encode()
    assert (directory / "picture.svg").read_bytes() == b"<svg/>"


def test_a_report_is_json_below_directories_that_are_made(tmp_path):
    write_report(tmp_path / "new" / "report.json", [{"steps": 3}])
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == [{"steps": 3}]


def test_a_file_where_a_directory_should_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EgretError, match=r"directory .*file cannot be written"):
        write_pages(tmp_path / "file", {"page.md": ""})
    with pytest.raises(EgretError, match=r"output .*report\.json cannot be written: Not a directory"):
        write_report(tmp_path / "file" / "report.json", {})


def test_the_same_figure_gives_the_same_bytes():
    def drawn(height: float) -> bytes:
        figure = new_figure(3, 2)
        figure.subplots().plot([0, 1], [0, height], label="a line")
        return svg(figure)

    assert drawn(1.0) == drawn(1.0) != drawn(2.0)
    assert b"<svg" in drawn(1.0)
