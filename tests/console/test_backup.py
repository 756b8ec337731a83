"""A backup brings database, files and secrets back; whatever is wrong with one stops the restoration before it
changes anything."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection

from console.backup import BackupError, restore_backup, write_backup


@pytest.fixture
def other_database(transactional_db):
    """The URL of an empty database beside the test's own."""
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS restored")
        cursor.execute("CREATE DATABASE restored")
    given = connection.settings_dict
    yield f"postgresql://{given['USER']}:{given['PASSWORD']}@/restored?host={given['HOST']}"
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE restored WITH (FORCE)")


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "console.settings", **environment},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_and_back(alice, workspace, other_database, tmp_path: Path) -> None:
    default_storage.save("datasets/ds-1/rows", ContentFile(b"rows"))
    backup = tmp_path / "backup.tar"
    call_command("backup", str(backup))
    assert backup.stat().st_mode & 0o077 == 0
    var = tmp_path / "elsewhere"
    environment = {"VAR_DIR": str(var), "DATABASE_URL": other_database}
    done = manage("restore", str(backup), **environment)
    assert done.returncode == 0, done.stderr
    assert (var / "storage/datasets/ds-1/rows").read_bytes() == b"rows"
    program = "from console.models import User; print(User.objects.get().username)"
    assert "alice" in manage("shell", "-c", program, **environment).stdout
    again = manage("restore", str(backup), **environment)
    assert again.returncode == 1
    assert "The database is not empty" in again.stderr


def test_a_backup_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_text("the last good one")
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", str(tmp_path / "backup.tar"))


@pytest.mark.django_db
def test_a_backup_that_fails_leaves_no_half(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", "no_such_database")
    with pytest.raises(BackupError, match="pg_dump"):
        write_backup(tmp_path / "backup.tar")
    assert list(tmp_path.glob("backup*")) == []


def archive_of(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            content = b'{"schema": 1, "storage": true}' if name == "manifest.json" else b"x"
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["storage/../../escaped", "etc/passwd", "/etc/passwd", "storage/"])
@pytest.mark.django_db
def test_members_that_belong_to_no_backup(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("console.backup._require_empty", lambda storage: None)
    with pytest.raises(BackupError):
        restore_backup(archive_of(tmp_path / "a.tar", "manifest.json", name))
    assert not (tmp_path / "escaped").exists()


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no backup that this version can read"):
        restore_backup(archive_of(tmp_path / "a.tar", "photo.jpg"))
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(BackupError, match="no backup, or it is damaged"):
        restore_backup(tmp_path / "b.tar")
