"""The Celery entry points: they are known to the worker and wake it up for what waits."""

from console.celery import app
from datasets import tasks
from datasets.models import DatasetVersion, VersionState


def test_the_beat_schedule_names_a_task_that_exists(settings) -> None:
    assert settings.CELERY_BEAT_SCHEDULE["resume-imports"]["task"] in app.tasks


def test_waiting_imports_are_woken_and_others_are_not(waiting, monkeypatch) -> None:
    woken = []
    monkeypatch.setattr(tasks.import_version, "apply_async", lambda args, **options: woken.append(args))
    version = waiting(a__jsonl="{}")
    DatasetVersion.objects.create(dataset=version.dataset, number=2, state=VersionState.DRAFT)
    tasks.resume_imports()
    assert woken == [(version.pk,)]


def test_the_task_imports(waiting) -> None:
    version = waiting(a__jsonl='{"prompt": "p", "response": "r"}')
    tasks.import_version(version.pk)
    version.refresh_from_db()
    assert version.state == VersionState.DRAFT
