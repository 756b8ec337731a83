"""Where the metrics of a workspace's runs go besides the console, and how far each run has got there."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from console.models import Workspace


class Target(models.TextChoices):
    TENSORBOARD = "tensorboard", "TensorBoard"
    MLFLOW = "mlflow", "MLflow"


class Tracking(models.Model):
    """What a workspace wants; a row is made when its page is saved."""

    workspace = models.OneToOneField(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="tracking"
    )
    tensorboard = models.BooleanField(_("TensorBoard event files"), default=False)
    # The address of the tracking server; "" is off.
    mlflow_uri = models.CharField(_("MLflow server"), max_length=200, blank=True)
    mlflow_experiment = models.CharField(_("experiment"), max_length=100, blank=True)
    mlflow_username = models.CharField(_("user name"), max_length=100, blank=True)
    # A password with a user name, a token without one; encrypted (console/secrets.py).
    mlflow_secret = models.TextField(_("encrypted password or token"), blank=True, editable=False)
    # Runs made before are left out.
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("metrics for dashboards")
        verbose_name_plural = _("metrics for dashboards")

    def __str__(self) -> str:
        return str(self.workspace)

    @property
    def targets(self) -> list[Target]:
        wanted = {Target.TENSORBOARD: self.tensorboard, Target.MLFLOW: bool(self.mlflow_uri)}
        return [target for target, is_wanted in wanted.items() if is_wanted]


class Tracked(models.Model):
    """One run at one target. Its row lock is what keeps two workers from sending the same."""

    run = models.ForeignKey(
        "jobs.Run", verbose_name=_("run"), on_delete=models.CASCADE, related_name="tracked"
    )
    target = models.CharField(_("target"), max_length=20, choices=Target.choices)
    # {metric: highest step that has been sent}
    sent = models.JSONField(_("sent"), default=dict)
    # The target's own: MLflow's run, the event file.
    reference = models.CharField(_("reference"), max_length=300, blank=True)
    # How much of the event file is whole.
    size = models.PositiveBigIntegerField(_("size"), default=0)
    # The run's `finished_at` when all of it had been sent; a resumed run has another one later.
    complete_at = models.DateTimeField(_("complete at"), null=True)
    # Why the last attempt failed, for people.
    error = models.TextField(_("error"), blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "target"), name="tracked_once_a_target"),)
        verbose_name = _("run on a dashboard")
        verbose_name_plural = _("runs on dashboards")

    def __str__(self) -> str:
        return f"{self.run_id} → {self.target}"
