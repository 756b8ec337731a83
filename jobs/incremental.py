"""增量训练: runs whose result a further run may start from, and the rules about them (seed, section 训练配置)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.methods import METHODS
from catalog.models import ModelType
from console.models import Workspace
from jobs.models import Checkpoint, Run, RunState

if TYPE_CHECKING:
    from jobs.configuration import Configuration

# 默认选取10%训练基准模型的数据混合进行训练; in percent.
MIX_DEFAULT = 10.0
MIX_RANGE = (0.0, 100.0)
# The newest ones are offered; an older one can still be named in an address or by the API.
MOST_OFFERED = 100
# What the list of bases reads of a run, which has many columns and large ones.
_LISTED = (
    *("uid", "version", "state", "method", "step", "created_at", "finished_at"),
    *("job__name", "job__model_type", "base_model__name", "base_model__name_en"),
)


@dataclass(frozen=True)
class Base:
    """A run that may be built on, or that is shown with the reason why not."""

    run: Run
    obstacle: str

    @property
    def label(self) -> str:
        """【名称+版本+Step】: the step is that of the newest saved checkpoint."""
        steps = saved_steps(self.run)
        if not steps:
            return f"【{self.run.job.name} {self.run.label}】"
        return f"【{self.run.job.name} {self.run.label} Step {steps[0]}】"


def offered_bases(workspace: Workspace, model_type: str) -> list[Base]:
    """Runs of the workspace that have something to start from, those that may be chosen first, newest first."""
    saved = Exists(Checkpoint.objects.filter(run=OuterRef("pk")))
    runs = Run.objects.filter(Q(state=RunState.DONE) | saved, job__workspace=workspace)
    runs = runs.filter(job__model_type=model_type).select_related("job", "base_model").only(*_LISTED)
    runs = runs.prefetch_related("checkpoints").order_by("-created_at", "-pk")[:MOST_OFFERED]
    bases = [Base(run, obstacle(run)) for run in runs]
    return sorted(bases, key=lambda base: bool(base.obstacle))


def find_base(workspace: Workspace, uid: str) -> Run | None:
    """The run of the workspace with that identifier."""
    runs = Run.objects.filter(job__workspace=workspace, uid=uid)
    return runs.select_related("job", "base_model__family").prefetch_related("checkpoints").first()


def saved_steps(run: Run) -> list[int]:
    """Steps at which a checkpoint of the run exists, newest first."""
    return sorted((checkpoint.step for checkpoint in run.checkpoints.all()), reverse=True)


def startable_steps(run: Run) -> list[int | None]:
    """Where a further run may start: None is the result of a run that is done, and comes first. The checkpoint
    of the last step is the same weights and not named again."""
    steps = _whole_steps(run)
    if run.state != RunState.DONE:
        return list(steps)
    return [None, *(step for step in steps if step != run.step)]


def _whole_steps(run: Run) -> list[int]:
    """Steps whose checkpoint is a whole model. Those of a text-to-image run hold only the part of the pipeline
    that is trained, so that its result alone can be started from."""
    return [] if run.job.model_type == ModelType.TEXT_TO_IMAGE else saved_steps(run)


def default_step(run: Run) -> int | None:
    """Where a further run starts unless another step is chosen: the result, else the newest checkpoint."""
    return next(iter(startable_steps(run)), None)


def trained_at(run: Run) -> datetime:
    """When the weights were made: the end of the run, else its newest checkpoint."""
    saved = [checkpoint.created_at for checkpoint in run.checkpoints.all()]
    return run.finished_at or max(saved, default=run.created_at)


def obstacle(run: Run) -> str:
    """Why nothing can be built on a run, or an empty text."""
    method = METHODS.get(run.method)
    if method is not None and not method.mode.answers:
        return _("A reward model gives no text and cannot be a base.")
    if method is None or not method.incremental_base:
        return _("LoRA results cannot be a base: only full-parameter training gives one.")
    if not startable_steps(run):
        return _("It has saved nothing to start from.")
    if timezone.now() - trained_at(run) > timedelta(days=settings.INCREMENTAL_MAX_AGE_DAYS):
        return _("Trained more than %(days)d days ago.") % {"days": settings.INCREMENTAL_MAX_AGE_DAYS}
    return ""


def check_base(
    workspace: Workspace, configuration: Configuration, found: defaultdict[str, list[str]]
) -> None:
    """The base run is of this workspace and may be built on, and the base model is the same."""
    base = configuration.base_run
    if base is None:
        return
    if base.job.workspace_id != workspace.pk:
        found["base_run"].append(_("This run does not exist in this workspace."))
        return
    if base.job.model_type != configuration.model_type:
        found["base_run"].append(_("%(run)s is of another job type.") % {"run": base})
    elif problem := obstacle(base):
        found["base_run"].append(problem)
    elif configuration.base_model != base.base_model:
        # 基础模型继承基准模型版本，所以当您选定基准模型后，基础模型及版本不可变更.
        found["base_model"].append(
            _("%(run)s was trained on %(model)s, and a run that builds on it keeps that base model.")
            % {"run": base, "model": base.base_model}
        )
    elif configuration.base_step not in _allowed_steps(base):
        found["base_step"].append(_("%(run)s has no checkpoint at that step.") % {"run": base})
    low, high = MIX_RANGE
    if not low <= configuration.base_mix <= high:
        found["base_mix"].append(
            _("The share must lie between %(low)g and %(high)g percent.") % {"low": low, "high": high}
        )


def _allowed_steps(run: Run) -> Sequence[int | None]:
    """Also the checkpoint of the last step of a run that is done may be named."""
    return [*startable_steps(run), *_whole_steps(run)]
