"""Celery entry points. A message carries nothing that matters: it wakes a worker, the database says for what."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down
from django.conf import settings

from console.celery import app
from console.logs import about_run
from jobs import announcing, devices, follow, lifecycle, limits, publishing, queueing, retention, warm
from jobs.models import Run
from jobs.tracking import sending

logger = logging.getLogger(__name__)
# The queues that this worker serves (its option -Q); empty in a process that is no worker.
SERVED: set[str] = set()
# Set when this worker ends: it is listed no longer.
gone = threading.Event()


@celeryd_after_setup.connect
def remember_queues(sender: str, instance: Any, **kwargs: object) -> None:
    SERVED.update(instance.app.amqp.queues.consume_from)


@shared_task
def run_training() -> None:
    """Carries out runs of this worker's queues until none may start, and publishes those that finished."""
    served = SERVED or None
    while not follow.shutting_down.is_set():
        for run_id in publishing.pending(served):
            _publish(run_id)
        run = lifecycle.claim_next(lifecycle.follower_name(), served, devices.gpus_here())
        if run is None:
            warm.keep_ready()  # there is nothing to do, and the next run starts the sooner
            return
        follow.carry_out(run)


def _publish(run_id: int) -> None:
    """Publishes a run; what goes wrong keeps nobody from the runs behind it, and is tried again by `dispatch`."""
    try:
        uid = Run.objects.values_list("uid", flat=True).get(pk=run_id)
        with about_run(uid):
            publishing.publish(run_id)
    except Exception:
        logger.exception("the finished run %s could not be published yet", run_id)


@shared_task
def dispatch() -> None:
    """Asks idle runs to make room, and wakes a worker for each run that could start and for finished ones still
    to be published (beat, every 5 s).

    No more messages than runs: what already lies in a queue counts.
    """
    queueing.make_room_everywhere()
    for queue in queueing.queues():
        wanted = lifecycle.needing_a_worker(queue) + len(publishing.pending({queue}))
        if not wanted:
            continue
        with app.connection_for_write() as connection:
            queued = connection.default_channel.queue_declare(queue, passive=False).message_count
        for _message in range(wanted - queued):
            run_training.apply_async(queue=queue)


@shared_task
def delete_old_checkpoints() -> None:
    """Deletes checkpoints that have been kept for as long as the operator wants, after a warning (beat)."""
    retention.warn()
    retention.delete_old_checkpoints()


@shared_task
def watch_limits() -> None:
    """Tells people whose running runs have used most of their device hours (beat, every minute)."""
    limits.watch()


@shared_task
def send_metrics() -> None:
    """Sends new metrics to the dashboards that workspaces have switched on (beat, every minute)."""
    sending.send_all()


@worker_ready.connect
def look_for_work(sender: object = None, **kwargs: object) -> None:
    """A training worker that comes up asks at once, without waiting for beat, and is listed from then on."""
    training = SERVED - {settings.CELERY_TASK_DEFAULT_QUEUE}
    for queue in training:
        run_training.apply_async(queue=queue)
    worker = getattr(sender, "controller", None)
    if training and worker is not None:
        announcing.keep_announcing(worker.hostname, training, worker.concurrency, gone)


@worker_shutting_down.connect
def save_and_release(sender: object = None, **kwargs: object) -> None:
    """A worker that is told to end has its trainers save, and puts their runs back into the queue."""
    follow.shutting_down.set()
    warm.let_go()
    gone.set()
