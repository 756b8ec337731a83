"""Jobs and their runs; what a run saves and reports. State changes live in jobs/lifecycle.py alone."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.core.validators import MaxLengthValidator, MinLengthValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Upper
from django.utils.translation import gettext_lazy as _

from catalog.methods import method_choices
from catalog.models import BaseModel, Model, ModelType, ModelVersion
from console.models import Workspace, make_uid
from datasets.models import DatasetVersion, SharedData

# Qianfan's CreateFineTuningJob takes 2-20 characters; 50 keeps its names valid and leaves room for real ones.
NAME_LENGTH = (2, 50)
DESCRIPTION_LENGTH = 500  # seed, section 基本信息; characters, not bytes


class Job(models.Model):
    """作业: a named line of work; its runs V1, V2, … are iterations on it."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "job")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="jobs"
    )
    name = models.CharField(
        _("job name"),
        max_length=NAME_LENGTH[1],
        validators=[
            MinLengthValidator(NAME_LENGTH[0]),
            RegexValidator(r"^[^\x00-\x1f]*$", _("Control characters are not allowed.")),
        ],
    )
    # What a search by name looks through: upper case, as it is compared.
    upper_name = models.GeneratedField(
        expression=Upper("name"), output_field=models.TextField(), db_persist=True
    )
    model_type = models.CharField(_("job type"), max_length=20, choices=ModelType)
    description = models.TextField(
        _("description"), blank=True, validators=[MaxLengthValidator(DESCRIPTION_LENGTH)]
    )
    # For a job made before its first run (by Qianfan's API): what its runs train, until there is one.
    base_model = models.ForeignKey(
        BaseModel,
        verbose_name=_("base model"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    # The same for their training mode (SFT, DPO, …).
    mode = models.CharField(_("training mode"), max_length=20, blank=True, default="", db_default="")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )
    # Number given to the next run; never given twice, even after a run was deleted.
    next_version = models.PositiveIntegerField(_("next version"), default=1, editable=False)

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="job_name_once_a_workspace",
                violation_error_message=_("This workspace already has a job of that name."),
            ),
        )
        indexes = (models.Index(fields=("workspace", "-created_at"), name="job_list"),)
        verbose_name = _("job")
        verbose_name_plural = _("jobs")

    def __str__(self) -> str:
        return self.name


def default_device_counts() -> list[int]:
    """One device a run."""
    return [1]


class RunState(models.TextChoices):
    """The states that Qianfan's API names; see jobs/lifecycle.py for the legal transitions."""

    WAITING = "Waiting", _("Waiting")
    RUNNING = "Running", _("Running")
    DONE = "Done", _("Done")
    FAILED = "Failed", _("Failed")
    STOPPED = "Stopped", _("Stopped")


ACTIVE_STATES = (RunState.WAITING, RunState.RUNNING)
TERMINAL_STATES = (RunState.DONE, RunState.FAILED, RunState.STOPPED)


class Publication(models.TextChoices):
    """自动发布: what became of it."""

    OFF = "off", _("Not published")
    PENDING = "pending", _("Publishes when done")
    PUBLISHED = "published", _("Published")
    SKIPPED = "skipped", _("Not published automatically")


class Accelerator(models.TextChoices):
    CPU = "cpu", _("CPU")
    GPU = "gpu", _("GPU")


class Pool(models.Model):
    """资源池: machines of one kind that train. Its workers listen on the Celery queue of that name."""

    name = models.CharField(_("name"), max_length=50, unique=True)
    queue = models.SlugField(_("queue"), max_length=50, unique=True, default="training")
    accelerator = models.CharField(
        _("accelerator"), max_length=3, choices=Accelerator.choices, default=Accelerator.CPU
    )
    device_name = models.CharField(
        _("device"), max_length=50, blank=True, help_text=_("For example NVIDIA A100 80 GB.")
    )
    slots = models.PositiveIntegerField(
        _("slots"), default=1, help_text=_("Devices that runs may hold at the same time, over all machines.")
    )
    device_counts = models.JSONField(
        _("devices a run may ask for"),
        default=default_device_counts,
        help_text=_("A list such as [1, 2, 4, 8]."),
    )
    # Per device and hour, in the currency of settings.CURRENCY; 0 means that nothing is charged.
    price = models.DecimalField(_("price per device hour"), max_digits=10, decimal_places=4, default=0)
    idle_price = models.DecimalField(
        _("idle price per device hour"), max_digits=10, decimal_places=4, default=0
    )
    allows_idle = models.BooleanField(_("offers idle training"), default=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    order = models.PositiveSmallIntegerField(_("order"), default=0)

    class Meta:
        ordering = ("order", "pk")
        verbose_name = _("pool")
        verbose_name_plural = _("pools")

    def __str__(self) -> str:
        return self.name


class Throughput(models.Model):
    """How fast one device of a pool trains a base model under a method; the basis of time and price."""

    pool = models.ForeignKey(
        Pool, verbose_name=_("pool"), on_delete=models.CASCADE, related_name="throughputs"
    )
    base_model = models.ForeignKey(
        BaseModel, verbose_name=_("base model"), on_delete=models.CASCADE, related_name="throughputs"
    )
    method = models.CharField(_("training method"), max_length=30, choices=method_choices)
    tokens_per_second = models.FloatField(
        _("tokens per second"), help_text=_("Samples per second for text-to-image models.")
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("pool", "base_model", "method"), name="throughput_once"),
        )
        verbose_name = _("throughput")
        verbose_name_plural = _("throughputs")

    def __str__(self) -> str:
        return f"{self.pool} · {self.base_model} · {self.method}: {self.tokens_per_second:g}"


class Priority(models.IntegerChoices):
    """Who comes first among the runs that wait. High is given by owners of the workspace alone."""

    HIGH = 1, _("High")
    NORMAL = 0, _("Normal")
    LOW = -1, _("Low")


class Run(models.Model):
    """任务/运行: one training run of a job: configuration, state, progress, results."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "task")
    )
    job = models.ForeignKey(Job, verbose_name=_("job"), on_delete=models.CASCADE, related_name="runs")
    version = models.PositiveIntegerField(_("version"))
    base_model = models.ForeignKey(
        BaseModel, verbose_name=_("base model"), on_delete=models.PROTECT, related_name="runs"
    )
    method = models.CharField(_("training method"), max_length=30, choices=method_choices)
    # {key: value} as the user left them, hidden fields left out.
    hyperparameters = models.JSONField(_("hyperparameters"), default=dict)
    # The test set: percent of each source that is held out, or the first rows of a version of its own.
    split_ratio = models.FloatField(_("share held out"), default=0)
    test_version = models.ForeignKey(
        DatasetVersion,
        verbose_name=_("test set"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="test_uses",
    )

    # 增量训练: the full-parameter run whose weights it starts from (at a step, or at its end), and the
    # percentage of that run's training rows that is mixed in (seed: 10 by default).
    base_run = models.ForeignKey(
        "self",
        verbose_name=_("base run"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="continued_by",
    )
    base_step = models.PositiveBigIntegerField(_("base step"), null=True, blank=True)
    base_mix = models.FloatField(_("share of the base data"), default=0)
    # 混合训练: rows of the general corpus for each row of own data (seed recommends 1:5, that is 0.2).
    corpus = models.ForeignKey(
        SharedData,
        verbose_name=_("general corpus"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="runs",
    )
    corpus_ratio = models.FloatField(_("share of the corpus"), default=0)

    # 资源配置: where it trains, on how many devices, and whether it gives way to others (闲时训练).
    pool = models.ForeignKey(
        Pool, verbose_name=_("pool"), on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    devices = models.PositiveIntegerField(_("devices"), default=1)
    idle = models.BooleanField(_("idle training"), default=False)
    priority = models.SmallIntegerField(_("priority"), choices=Priority.choices, default=Priority.NORMAL)
    # What was estimated when it was submitted: {"tokens", "hours", "price", "currency"}.
    estimate = models.JSONField(_("estimate"), default=dict)
    # What a program wants to find again on it: {text: text}; nothing here reads it.
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)

    state = models.CharField(_("state"), max_length=10, choices=RunState.choices, default=RunState.WAITING)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)
    stop_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("stop requested by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )
    # An idle run that is to make room; cleared when it is back in the queue.
    preempt_requested_at = models.DateTimeField(_("asked to make room at"), null=True, blank=True)
    # Since when it is to rest until somebody resumes it; a run that trains saves first, and waits with this set.
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)
    # Since when it holds its devices, and for how long it held them before (what is charged).
    claimed_at = models.DateTimeField(_("holds its devices since"), null=True, blank=True)
    held_seconds = models.FloatField(_("seconds on its devices"), default=0)

    # Since when its people know that its checkpoints go (jobs/retention.py).
    checkpoints_warned_at = models.DateTimeField(
        _("warned of the deletion of checkpoints at"), null=True, blank=True, editable=False
    )

    # Who carries it out. `lease` grows with every claim; a follower whose number is older must not write.
    lease = models.PositiveIntegerField(_("lease"), default=0)
    follower = models.CharField(_("follower"), max_length=200, blank=True)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
    # The GPUs of the follower's machine that it holds (jobs/devices.py); empty on machines without.
    held_devices = models.JSONField(_("devices that it holds"), default=list, db_default=[], blank=True)
    # Starts of the trainer process so far, and how many of its events are already in the database (bytes).
    attempt = models.PositiveIntegerField(_("starts"), default=0)
    crashes = models.PositiveIntegerField(_("crashes"), default=0)
    events_offset = models.PositiveBigIntegerField(_("events read (bytes)"), default=0)
    # Which machine's directory of it counts (jobs/directories.py).
    directory_mark = models.CharField(
        _("mark of its directory"), max_length=32, blank=True, default="", db_default=""
    )

    # Progress as the trainer last reported it.
    phase = models.CharField(_("phase"), max_length=30, blank=True)
    step = models.PositiveBigIntegerField(_("step"), default=0)
    total_steps = models.PositiveBigIntegerField(_("steps in all"), null=True, blank=True)
    epoch = models.FloatField(_("epoch"), default=0)
    eta_seconds = models.FloatField(_("time left (seconds)"), null=True, blank=True)
    # What the trainer resolved ({key: {"value", "origin"}}), the data it saw, its device and versions.
    resolved = models.JSONField(_("values in effect"), default=dict)
    summary = models.JSONField(_("report of the trainer"), default=dict)
    # {"code", "params", "message"}; shown through jobs/messages.py in the reader's language.
    failure = models.JSONField(_("failure"), null=True, blank=True)

    publication = models.CharField(
        _("publishing"), max_length=10, choices=Publication.choices, default=Publication.OFF
    )
    # A name for a new model, or the existing model that gets its next version.
    publish_name = models.CharField(_("model name"), max_length=50, blank=True)
    publish_as_new = models.BooleanField(_("publish as a new model"), default=True)
    publish_model = models.ForeignKey(
        Model,
        verbose_name=_("model to publish to"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="expected_runs",
    )
    publication_note = models.JSONField(_("note on publishing"), null=True, blank=True)
    model_version = models.OneToOneField(
        ModelVersion,
        verbose_name=_("model version"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="run",
    )

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = (models.UniqueConstraint(fields=("job", "version"), name="run_version_once_a_job"),)
        indexes = (
            models.Index(
                fields=("created_at",),
                name="active_runs",
                condition=models.Q(state__in=["Waiting", "Running"]),
            ),
            models.Index(
                fields=("base_model", "-finished_at"),
                name="finished_runs",
                condition=models.Q(state="Done"),
            ),
            models.Index(fields=("base_model", "job"), name="runs_of_a_model"),
            models.Index(
                fields=("finished_at",),
                name="ended_runs",
                condition=models.Q(state__in=["Done", "Failed", "Stopped"]),
            ),
        )
        verbose_name = _("run")
        verbose_name_plural = _("runs")

    def __str__(self) -> str:
        return f"{self.job.name} V{self.version}"

    @property
    def label(self) -> str:
        return f"V{self.version}"

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE_STATES

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @property
    def is_stopping(self) -> bool:
        """True from the click on stop until the trainer has saved and ended."""
        return self.is_active and self.stop_requested_at is not None

    @property
    def is_pausing(self) -> bool:
        """True from the click on pause until the trainer has saved."""
        return self.state == RunState.RUNNING and self.paused_at is not None and not self.is_stopping

    @property
    def is_paused(self) -> bool:
        """Whether it rests in the queue, from which nobody takes it until it is resumed."""
        return self.state == RunState.WAITING and self.paused_at is not None

    @property
    def percent(self) -> int:
        """Progress in whole percent, 0-100; 100 only for a run that is done."""
        if self.state == RunState.DONE:
            return 100
        if not self.total_steps:
            return 0
        return min(99, int(100 * self.step / self.total_steps))


class Limits(models.Model):
    """What a workspace may take, set by the operator; empty is without limit (jobs/limits.py, jobs/retention.py)."""

    workspace = models.OneToOneField(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="limits"
    )
    running = models.PositiveIntegerField(
        _("runs at the same time"),
        null=True,
        blank=True,
        help_text=_("Further ones wait. Empty: as many as there are devices for."),
    )
    device_hours = models.PositiveIntegerField(
        _("device hours a month"),
        null=True,
        blank=True,
        help_text=_(
            "Of a calendar month in UTC. Once they are used up no further run starts until the next month; "
            "runs that train already go on. Empty: unlimited."
        ),
    )
    checkpoint_days = models.PositiveIntegerField(
        _("days that checkpoints are kept"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("After the end of their run; its result is always kept. Empty: for ever."),
    )

    class Meta:
        ordering = ("workspace__name", "pk")
        verbose_name = _("limits of a workspace")
        verbose_name_plural = _("limits of workspaces")

    def __str__(self) -> str:
        return str(self.workspace)


class Usage(models.Model):
    """For how long runs of a workspace held devices in a month; written when a hold ends (jobs/limits.py). It
    outlives the runs: deleting them gives no hours back."""

    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="usage"
    )
    # The first day of the month, UTC.
    month = models.DateField(_("month"))
    device_seconds = models.FloatField(_("seconds on devices"), default=0)

    class Meta:
        ordering = ("-month", "workspace")
        constraints = (models.UniqueConstraint(fields=("workspace", "month"), name="usage_once_a_month"),)
        verbose_name = _("use of devices")
        verbose_name_plural = _("use of devices")

    def __str__(self) -> str:
        return f"{self.workspace} · {self.month:%Y-%m}"


class RunSource(models.Model):
    """A dataset version that a run trains on, with its sampling rate."""

    run = models.ForeignKey(Run, verbose_name=_("run"), on_delete=models.CASCADE, related_name="sources")
    version = models.ForeignKey(
        DatasetVersion, verbose_name=_("dataset version"), on_delete=models.PROTECT, related_name="uses"
    )
    sampling_rate = models.FloatField(_("sampling rate"), default=1.0)

    class Meta:
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=("run", "version"), name="source_once_a_run"),)
        verbose_name = _("training data of a run")
        verbose_name_plural = _("training data of runs")

    def __str__(self) -> str:
        return f"{self.version} × {self.sampling_rate:g}"


class Checkpoint(models.Model):
    """A state of the weights that the trainer saved completely."""

    run = models.ForeignKey(Run, verbose_name=_("run"), on_delete=models.CASCADE, related_name="checkpoints")
    step = models.PositiveBigIntegerField(_("step"))
    path = models.CharField(_("path"), max_length=200)
    size = models.PositiveBigIntegerField(_("size"), default=0)
    loss = models.FloatField(_("loss"), null=True, blank=True)
    eval_loss = models.FloatField(_("validation loss"), null=True, blank=True)
    created_at = models.DateTimeField(_("saved at"))

    class Meta:
        ordering = ("step",)
        constraints = (models.UniqueConstraint(fields=("run", "step"), name="checkpoint_once_a_step"),)
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")

    def __str__(self) -> str:
        return f"step {self.step}"


class Metric(models.Model):
    """One point of one curve."""

    run = models.ForeignKey(Run, verbose_name=_("run"), on_delete=models.CASCADE, related_name="metrics")
    key = models.CharField(_("metric"), max_length=40)
    step = models.PositiveBigIntegerField(_("step"))
    value = models.FloatField(_("value"))

    class Meta:
        # Also the order in which curves are read.
        constraints = (models.UniqueConstraint(fields=("run", "key", "step"), name="metric_once_a_step"),)
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")

    def __str__(self) -> str:
        return f"{self.key}@{self.step}={self.value:g}"


class TimelineEntry(models.Model):
    """What happened to a run, for people: submitted, started, resumed, checkpoint, stopped by whom, published."""

    run = models.ForeignKey(Run, verbose_name=_("run"), on_delete=models.CASCADE, related_name="timeline")
    at = models.DateTimeField(_("time"))
    kind = models.CharField(_("event"), max_length=30)
    data: Any = models.JSONField(_("details"), default=dict)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("person"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )

    class Meta:
        ordering = ("at", "pk")
        verbose_name = _("timeline entry")
        verbose_name_plural = _("timeline entries")

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M:%S}"


class Draft(models.Model):
    """What somebody has typed into the form of a run and not submitted yet: one for each page on which the
    form is filled in, so that two tabs do not write over each other. Written by jobs/drafts.py."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("person"), on_delete=models.CASCADE, related_name="drafts"
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="+"
    )
    job = models.ForeignKey(
        Job, verbose_name=_("job"), on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    # Known to the one page that writes it; whether that page is still open, as far as it has said.
    key = models.CharField(_("key"), max_length=20, editable=False, default=partial(make_uid, "draft"))
    is_open = models.BooleanField(_("open in a page"), default=False)
    # {name of the form field: [values]}
    fields = models.JSONField(_("fields"), default=dict)
    updated_at = models.DateTimeField(_("saved at"), auto_now=True)

    class Meta:
        ordering = ("-updated_at",)
        constraints = (models.UniqueConstraint(fields=("user", "key"), name="draft_key"),)
        verbose_name = _("draft")
        verbose_name_plural = _("drafts")

    def __str__(self) -> str:
        return f"{self.user} · {self.job or self.name or '–'}"

    @property
    def name(self) -> str:
        """The name typed for a new job, empty so far perhaps."""
        return "".join(self.fields.get("name", [])[:1])


class Worker(models.Model):
    """A process that trains or imports, as it announced itself (jobs/announcing.py)."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    # As in Run.follower: whose runs these are.
    process = models.CharField(_("process"), max_length=200)
    host = models.CharField(_("host"), max_length=200)
    queues = models.JSONField(_("queues"), default=list)
    slots = models.PositiveIntegerField(_("runs at the same time"), default=1)
    # [{"kind": "cuda", "name": "NVIDIA H100", "memory": bytes}, {"kind": "cpu", "name": "16 cores", "memory": bytes}]
    devices = models.JSONField(_("devices"), default=list)
    # {"jingtiao": "0.1.0", "python": "3.11.9", "torch": "2.13.0", …}
    versions = models.JSONField(_("versions"), default=dict)
    # {"cpu": percent of all cores, "memory": percent}
    load = models.JSONField(_("load"), default=dict)
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last sign of life"))

    class Meta:
        ordering = ("host", "name")
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name


# Django looks for an app's models here; they name those above by text.
from jobs.tracking.models import Tracked, Tracking  # noqa: E402, F401
