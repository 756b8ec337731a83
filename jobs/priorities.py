"""Who may let a waiting run go first."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from console.models import Membership, Role, User
from jobs.lifecycle import note
from jobs.models import Priority, Run, RunState


def choices(user: User, workspace_id: int) -> list[Priority]:
    """The priorities that a member may give to runs of the workspace: high is for its owners."""
    owns = Membership.objects.filter(user=user, workspace=workspace_id, role=Role.OWNER)
    return [item for item in Priority if item <= Priority.NORMAL or owns.exists()]


def change(run: Run, priority: Priority, user: User) -> bool:
    """Gives a waiting run another priority; False if it waits no longer."""
    with transaction.atomic():
        current = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if current.state != RunState.WAITING:
            return False
        if current.priority != priority:
            current.priority = priority
            current.save(update_fields=["priority"])
            note(current, f"priority_{priority.name.lower()}", actor=user)
    return True


def change_as_member(run: Run, priority: Priority, user: User) -> bool:
    """As `change`; raises PermissionDenied for what only owners of the workspace may do."""
    if priority not in choices(user, run.job.workspace_id):
        raise PermissionDenied(_("Only owners of the workspace may give a run high priority."))
    return change(run, priority, user)
