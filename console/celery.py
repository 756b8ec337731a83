"""The Celery application. Messages only wake a worker up; what is to be done stands in the database."""

import os
from typing import Any

from auditlog.context import disable_auditlog
from celery import Celery, Task

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")


class UnrecordedTask(Task):  # type: ignore[misc]
    """What a worker does is no change of anybody: nothing of it is recorded in the audit log (console/audit.py)."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with disable_auditlog():
            return super().__call__(*args, **kwargs)


app = Celery("console", task_cls=UnrecordedTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
