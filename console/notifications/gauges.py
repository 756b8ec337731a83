"""What Prometheus is told of e-mails and webhooks; a look costs two small queries."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.models import Delivery, Mail
from console.notifications.models import State


class OutboxGauges(Collector):
    """How much waits to be sent, and for how long the oldest of it is overdue: more than a few minutes means that
    nobody sends."""

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("jingtiao_outbox", "What waits to be sent.", labels=["kind"])
        overdue = GaugeMetricFamily(
            "jingtiao_outbox_overdue_seconds", "How long its next attempt is overdue.", labels=["kind"]
        )
        for kind, rows in (("mail", Mail.objects), ("webhook", Delivery.objects)):
            found = rows.filter(state=State.WAITING).aggregate(count=Count("pk"), due=Min("due_at"))
            late = (timezone.now() - found["due"]).total_seconds() if found["due"] else 0
            waiting.add_metric([kind], found["count"])
            overdue.add_metric([kind], max(0.0, late))
        yield waiting
        yield overdue
