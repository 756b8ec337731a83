"""The files in deploy/ run the same processes as `manage.py up`, which other tests start for real."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from console.supervision import console_programs

DEPLOY = Path(settings.BASE_DIR) / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
NAMES = [program.name for program in console_programs("127.0.0.1", 8000)]


def arguments_of(name: str, host: str) -> list[str]:
    """What `manage.py up` gives Python for a process, as a shell would see it."""
    program = next(item for item in console_programs(host, 8000) if item.name == name)
    return [argument.replace("%%h", "%h") for argument in program.command[1:]]


@pytest.mark.parametrize("name", NAMES)
def test_compose_runs_the_same_process(name: str) -> None:
    python, *arguments = COMPOSE["services"][name]["command"]
    assert python == "python"
    assert arguments == arguments_of(name, "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("name", NAMES)
def test_systemd_runs_the_same_process(name: str) -> None:
    unit = (DEPLOY / "systemd" / f"jingtiao-{name}.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command
    python, *arguments = shlex.split(command[1])
    assert python.endswith("/.venv/bin/python")
    assert [argument.replace("%%h", "%h") for argument in arguments] == arguments_of(name, "127.0.0.1")


def test_nothing_is_left_out_and_nothing_invented() -> None:
    assert [unit.stem.removeprefix("jingtiao-") for unit in UNITS] == sorted(NAMES)
    others = {"postgres", "redis", "prepare", "proxy"}
    assert set(COMPOSE["services"]) == {*NAMES, *others}


def test_every_setting_of_the_compose_file_is_one_that_the_console_reads() -> None:
    known = set(re.findall(r"`([A-Z][A-Z_]+)`", (Path(settings.BASE_DIR) / "README.md").read_text()))
    assert set(COMPOSE["x-console"]["environment"]) <= known


def test_volumes_and_dependencies_exist() -> None:
    for service in COMPOSE["services"].values():
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    # The commands must exist for the check; the account and the environment file need not.
    text = re.sub(r"/srv/jingtiao\S*/python", "/bin/true", unit.read_text())
    copy = tmp_path / unit.name
    copy.write_text(text.replace("WorkingDirectory=/srv/jingtiao", "WorkingDirectory=/"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []
