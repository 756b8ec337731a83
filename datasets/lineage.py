"""Where a version comes from, which runs used it, and which models came of those: what a deletion would break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.models import User
from datasets.models import DatasetVersion, SharedKind

SOURCE, TEST, CORPUS = "source", "test", "corpus"
LABELS: dict[str, Promise | str] = {
    SOURCE: gettext_lazy("Trained on"),
    TEST: gettext_lazy("Tested on"),
    CORPUS: gettext_lazy("General corpus"),
}
SHOWN_USES = 200


@dataclass(frozen=True)
class Use:
    """A run that used the version, how, and at which sampling rate (None: not sampled)."""

    run: Any
    role: Promise | str
    rate: float | None

    @property
    def model(self) -> Any:
        """The model version that came of the run, or None."""
        return self.run.model_version


@dataclass(frozen=True)
class Lineage:
    """What a page tells. `hidden` counts uses by runs that the reader may not see, `left_out` those beyond the
    first SHOWN_USES."""

    uses: list[Use]
    hidden: int
    left_out: int
    shared: Promise | str
    successors: list[DatasetVersion]

    @property
    def use_count(self) -> int:
        return len(self.uses) + self.left_out

    @property
    def model_count(self) -> int:
        """Model versions of the uses that are shown, each once."""
        return len({use.model.pk for use in self.uses if use.model is not None})

    @property
    def obstacles(self) -> list[str]:
        """Why the version cannot be deleted, as sentences; empty where nothing needs it."""
        found = [_("%(run)s: %(role)s") % {"run": use.run, "role": str(use.role)} for use in self.uses]
        if self.left_out:
            found.append(_("%(count)d more runs") % {"count": self.left_out})
        if self.hidden:
            found.append(_("%(count)d uses by runs of other workspaces") % {"count": self.hidden})
        if self.shared:
            found.append(_("Offered to every workspace as: %(kind)s") % {"kind": str(self.shared)})
        return found


def lineage_of(version: DatasetVersion, user: User) -> Lineage:
    """What came of a version, as far as the user may see it: runs of the user's own workspaces."""
    related: Any = version
    mine = Q(run__job__workspace__memberships__user=user)
    sources = (
        related.uses.filter(mine).select_related("run__job", "run__model_version__model").order_by("-run__pk")
    )
    uses = [Use(one.run, LABELS[SOURCE], one.sampling_rate) for one in sources[:SHOWN_USES]]
    seen, total = sources.count(), related.uses.count()
    own = Q(job__workspace__memberships__user=user)
    more = [(related.test_uses, LABELS[TEST])]
    shared = getattr(version, "shared", None)
    if shared is not None and shared.kind == SharedKind.CORPUS:
        more.append((shared.runs, LABELS[CORPUS]))
    for runs, role in more:
        visible = runs.filter(own).select_related("job", "model_version__model").order_by("-pk")
        uses += [Use(run, role, None) for run in visible[:SHOWN_USES]]
        seen, total = seen + visible.count(), total + runs.count()
    successors = list(version.continued_as.select_related("dataset").defer("problems"))
    kind = shared.get_kind_display() if shared is not None else ""
    return Lineage(uses, total - seen, seen - len(uses), kind, successors)
