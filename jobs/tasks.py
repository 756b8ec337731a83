"""Celery entry points. A message carries nothing that matters: it wakes a worker, the database says for what."""

from __future__ import annotations

import logging

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down

from console.celery import app
from jobs import follow, lifecycle, publishing

logger = logging.getLogger(__name__)
QUEUE = "training"


@shared_task
def run_training() -> None:
    """Carries out runs, oldest first, until none is left, and publishes those that finished."""
    while not follow.shutting_down.is_set():
        for run_id in publishing.pending():
            publishing.publish(run_id)
        run = lifecycle.claim_next(lifecycle.follower_name())
        if run is None:
            return
        follow.carry_out(run)


@shared_task
def dispatch() -> None:
    """Wakes a worker for each run that waits, and for finished ones still to be published (beat, every 5 s).

    No more messages than runs: what already lies in the queue counts.
    """
    wanted = lifecycle.needing_a_worker() + len(publishing.pending())
    if not wanted:
        return
    with app.connection_for_write() as connection:
        queued = connection.default_channel.queue_declare(QUEUE, passive=False).message_count
    for _message in range(wanted - queued):
        run_training.delay()


@worker_ready.connect
def look_for_work(sender: object = None, **kwargs: object) -> None:
    """A worker that comes up asks at once, without waiting for beat."""
    run_training.delay()


@worker_shutting_down.connect
def save_and_release(sender: object = None, **kwargs: object) -> None:
    """A worker that is told to end has its trainers save, and puts their runs back into the queue."""
    follow.shutting_down.set()
