from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = _("Training jobs")

    def ready(self) -> None:
        from console.metrics import STATE
        from jobs.gauges import RunGauges

        STATE.register(RunGauges())
