"""Webhooks of the workspace through the own API, for keys of its owners."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.utils.translation import gettext as _
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field

from console.models import Delivery, Role, Webhook
from console.notifications import webhooks
from console.notifications.forms import WebhookForm
from console.notifications.outbox import problem_text
from console.rest.answers import After, Limit, Next, answer, cut, find, nothing
from console.rest.authentication import ADMIN, READ, WRITE, ApiRequest
from console.rest.errors import CHANGING, COMMON, WITH_OBJECT, Error, conflict, invalid_fields

router = Router(tags=["Webhooks"])


class WebhookIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=50)
    url: str = Field(max_length=500, description="https://…; answers with 2xx within seconds")
    kinds: list[str] = Field(description="What is sent: /notification-kinds")
    enabled: bool = True


class WebhookOut(BaseModel):
    uid: str
    name: str
    url: str
    kinds: list[str]
    enabled: bool
    failing_since: datetime | None = Field(description="Since when every attempt has failed")
    given_up_at: datetime | None = Field(description="When the console switched it off by itself")
    created_at: datetime


class WebhookMade(WebhookOut):
    secret: str = Field(description="whsec_…; told this once")


class WebhookPage(BaseModel):
    items: list[WebhookOut]
    next: Next


class Attempt(BaseModel):
    at: datetime
    status: int | None = Field(description="HTTP status of the answer; null without one")
    seconds: float
    answer: str = Field(description="The first bytes of it")
    code: str = Field(description="Why it failed, for programs; empty where it did not")


class DeliveryOut(BaseModel):
    uid: str
    notification: str | None = Field(description="msg-…; null for a test")
    kind: str
    state: str = Field(description="waiting, delivered or failed")
    attempts: list[Attempt]
    problem: str = Field(description="Why the last attempt failed, for people")
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class DeliveryPage(BaseModel):
    items: list[DeliveryOut]
    next: Next


def _require_owner(request: ApiRequest) -> None:
    if request.auth.role != Role.OWNER:
        raise PermissionDenied(_("Only owners of the workspace see its webhooks."))


def _webhook(request: ApiRequest, uid: str) -> Webhook:
    found = find(Webhook.objects.select_related("workspace"), request.auth, uid=uid)
    _require_owner(request)
    return found


def _fields(webhook: Webhook) -> dict[str, Any]:
    return {name: getattr(webhook, name) for name in WebhookOut.model_fields}


def _save(form: WebhookForm) -> Webhook:
    """By the rules of the page; raises Rejected."""
    if not form.is_valid():
        raise invalid_fields(
            {"" if name == "__all__" else name: errors for name, errors in form.errors.items()}
        )
    return form.save()


@router.get("/webhooks", auth=READ, response=COMMON | {200: WebhookPage, 422: Error}, summary="Webhooks")
def list_webhooks(request: ApiRequest, after: After = "", limit: Limit = 20) -> HttpResponse:
    _require_owner(request)
    items, following = cut(Webhook.objects.filter(workspace=request.auth.workspace), after, limit)
    return answer(request, WebhookPage(items=[WebhookOut(**_fields(item)) for item in items], next=following))


@router.post("/webhooks", auth=WRITE, response=CHANGING | {201: WebhookMade}, summary="A new webhook")
def create_webhook(request: ApiRequest, given: WebhookIn) -> HttpResponse:
    """The answer is the only one that has its secret."""
    _require_owner(request)
    form = WebhookForm(given.model_dump(), workspace=request.auth.workspace)
    form.instance.enabled = given.enabled
    secret = webhooks.set_secret(form.instance)
    return answer(request, WebhookMade(**_fields(_save(form)), secret=secret), 201)


@router.get("/webhooks/{uid}", auth=READ, response=WITH_OBJECT | {200: WebhookOut}, summary="One webhook")
def webhook(request: ApiRequest, uid: str) -> HttpResponse:
    return answer(request, WebhookOut(**_fields(_webhook(request, uid))))


@router.put("/webhooks/{uid}", auth=WRITE, response=CHANGING | {200: WebhookOut}, summary="Change it")
def change_webhook(request: ApiRequest, uid: str, given: WebhookIn) -> HttpResponse:
    found = _webhook(request, uid)
    form = WebhookForm(given.model_dump(), instance=found, workspace=found.workspace)
    return answer(request, WebhookOut(**_fields(_save(form))))


@router.delete("/webhooks/{uid}", auth=ADMIN, response=CHANGING | {204: None}, summary="Delete it")
def delete_webhook(request: ApiRequest, uid: str) -> HttpResponse:
    _webhook(request, uid).delete()
    return nothing()


@router.post(
    "/webhooks/{uid}/secret", auth=WRITE, response=CHANGING | {200: WebhookMade}, summary="A new secret"
)
def new_secret(request: ApiRequest, uid: str) -> HttpResponse:
    """The present one ends at once."""
    found = _webhook(request, uid)
    secret = webhooks.set_secret(found)
    found.save(update_fields=["secret"])
    return answer(request, WebhookMade(**_fields(found), secret=secret))


@router.post(
    "/webhooks/{uid}/test", auth=WRITE, response=CHANGING | {202: DeliveryOut}, summary="Send a test"
)
def test(request: ApiRequest, uid: str) -> HttpResponse:
    return answer(request, _delivery_out(webhooks.test(_webhook(request, uid))), 202)


@router.get(
    "/webhooks/{uid}/deliveries",
    auth=READ,
    response=WITH_OBJECT | {200: DeliveryPage, 422: Error},
    summary="What was sent to it",
)
def deliveries(request: ApiRequest, uid: str, after: After = "", limit: Limit = 20) -> HttpResponse:
    found = _webhook(request, uid).deliveries.select_related("notification")
    items, following = cut(found, after, limit)
    return answer(request, DeliveryPage(items=[_delivery_out(item) for item in items], next=following))


@router.post(
    "/webhooks/{uid}/deliveries/{delivery}/again",
    auth=WRITE,
    response=CHANGING | {202: DeliveryOut},
    summary="Send it again",
)
def send_again(request: ApiRequest, uid: str, delivery: Annotated[str, Field(max_length=20)]) -> HttpResponse:
    """With all the attempts that a new one has; 409 while it still waits."""
    _webhook(request, uid)
    found = find(Delivery.objects.filter(webhook__uid=uid), request.auth, "webhook__workspace", uid=delivery)
    if not webhooks.send_again(found):
        raise conflict(_("It is being sent already."))
    found.refresh_from_db()
    return answer(request, _delivery_out(found), 202)


_STATES = {"Waiting": "waiting", "Done": "delivered", "Failed": "failed"}


def _delivery_out(item: Delivery) -> DeliveryOut:
    notification = item.notification
    return DeliveryOut(
        uid=item.uid,
        notification=notification.uid if notification else None,
        kind=notification.kind if notification else "webhook.test",
        state=_STATES[item.state],
        attempts=[Attempt(**entry) for entry in item.log],
        problem=problem_text(item.problem),
        next_attempt_at=item.due_at,
        created_at=item.created_at,
        ended_at=item.ended_at,
    )
