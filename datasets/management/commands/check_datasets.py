"""manage.py check_datasets: are the rows of every version still those that were imported?"""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser
from typing import Any

import pyarrow as pa
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from datasets.models import DatasetVersion, VersionState
from datasets.rows import iter_rows


class Command(BaseCommand):
    help = (
        "Reads the rows of every version in the storage and compares them with their content hash. Names what is lost, "
        "changed or left over; ends with 1 where something is lost or changed. Versions used in place are left out."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("uid", nargs="*", help="identifiers of versions; all without any")
        parser.add_argument(
            "--remove", action="store_true", help="remove files of rows that no version names"
        )

    def handle(self, *args: Any, uid: list[str], remove: bool, **options: Any) -> None:
        found = DatasetVersion.objects.exclude(rows_path="").select_related("dataset").defer("problems")
        versions = self._chosen(found, uid)
        bad = checked = 0
        for version in versions.order_by("pk").iterator():
            problem = fault(version)
            checked += 1
            if problem:
                bad += 1
                self.stderr.write(f"{version.uid}  {version}: {problem}")
            for path in left_over(version):
                if remove:
                    default_storage.delete(path)
                self.stdout.write(f"{version.uid}  {version}: {path} {'removed' if remove else 'left over'}")
        self.stdout.write(f"{checked} checked, {bad} lost or changed")
        if bad:
            raise CommandError(f"{bad} of {checked} versions are not as they were imported")

    def _chosen(self, versions: QuerySet[DatasetVersion], uids: list[str]) -> QuerySet[DatasetVersion]:
        if not uids:
            return versions
        chosen = versions.filter(uid__in=uids)
        if unknown := set(uids) - set(chosen.values_list("uid", flat=True)):
            raise CommandError(f"no rows in the storage: {', '.join(sorted(unknown))}")
        return chosen


def fault(version: DatasetVersion) -> str:
    """What is wrong with the stored rows of a version; "" where they are as they were."""
    hashed, rows = hashlib.sha256(), 0
    try:
        for line in iter_rows(version):
            hashed.update(line + b"\n")
            rows += 1
    except FileNotFoundError:
        return f"{version.rows_path} is lost"
    except (pa.ArrowException, OSError) as error:
        return f"{version.rows_path} cannot be read: {str(error).splitlines()[0]}"
    if rows != version.row_count:
        return f"{rows} rows instead of {version.row_count}"
    return "" if hashed.hexdigest() == version.content_hash else "other rows than those of the content hash"


def left_over(version: DatasetVersion) -> list[str]:
    """Files of rows that a worker or server that was killed left behind."""
    now = DatasetVersion.objects.filter(pk=version.pk).exclude(state=VersionState.IMPORTING).first()
    if now is None:
        return []
    folder = f"datasets/{now.uid}"
    try:
        names = default_storage.listdir(folder)[1]
    except FileNotFoundError:
        return []
    return [
        f"{folder}/{name}"
        for name in names
        if name.startswith("rows-") and f"{folder}/{name}" != now.rows_path
    ]
