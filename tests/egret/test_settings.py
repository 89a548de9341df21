"""Settings of a recipe as text: what `--set` reads and a checkpoint's command prints."""

import shlex

import pytest

from egret.recipes import Recipe
from egret.settings import changed, differences, parse
from egru.errors import EgretError


def test_settings_change_a_recipe_by_the_type_of_each_field():
    made = changed(Recipe(), ["eps=2.5", "kernel=auto", "qat_epochs=0"], units=32, layers=None)
    assert made == Recipe(eps=2.5, kernel="auto", qat_epochs=0, units=32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["eps"], "a setting must be name=value, not 'eps'"),
        (["unit=3"], "a recipe has no setting 'unit': did you mean units"),
        (["qqqqqq=3"], "a recipe has no setting 'qqqqqq': it must be one of units, layers,"),
        (["units=1.5"], "setting units must be an integer, not '1.5'"),
        (["noise=loud"], "setting noise must be a number, not 'loud'"),
        (["eps=1", "eps=2"], "setting eps must be given once, not twice"),
        (["eps=0"], "eps must be a finite number above 0, not 0.0"),
        (["kernel=fast"], "kernel must be one of"),
        (["readout=first"], "readout must be one of mean, last, every, not 'first'"),
        (["units=3"], "units must be given as --units or as --set units=, not both"),
    ],
)
def test_a_setting_that_cannot_be_made_is_refused(settings, message):
    with pytest.raises(EgretError, match=message):
        changed(Recipe(), settings, units=7 if message.startswith("units") else None)


def test_what_differs_from_a_recipe_is_printed_so_that_it_reads_back():
    made = Recipe(units=9, learning_rate=1 / 3, kernel="sparse", threads=2)
    words = differences(made, Recipe(), ("units",))
    assert words[:4] == ["--units", "9", "--set", f"learning_rate={1 / 3}"]
    settings = [w for w in words if "=" in w]
    assert Recipe(units=9).but(**parse(settings)) == made
    assert shlex.split(shlex.join(words)) == words


def test_what_older_recipes_lacked_is_written_only_where_it_is_not_the_default():
    assert "eps" not in Recipe().as_dict() and "kernel" not in Recipe().as_dict()
    assert Recipe(eps=2.0).as_dict()["eps"] == 2.0
    assert Recipe(**Recipe(eps=2.0).as_dict()) == Recipe(eps=2.0)
