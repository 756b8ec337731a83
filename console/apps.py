from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConsoleConfig(AppConfig):
    name = "console"
    verbose_name = _("People and workspaces")

    def ready(self) -> None:
        from console import audit, checks  # noqa: F401  (registers the system checks)
        from console.metrics import STATE
        from console.notifications.gauges import OutboxGauges

        audit.register()
        STATE.register(OutboxGauges())
