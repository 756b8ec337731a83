"""体验: a page to talk to a version, a checkpoint or a base model, beside the base model; to see what it draws.

Whoever sees a model may ask it: an answer changes nothing. The page's script asks both sides for their answers, each
with what was said on that side so far, and shows them as they come (server-sent events, one JSON object each).
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import msgspec
from django import forms
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from catalog import serving_client, serving_forwarding
from catalog.api.chat import event_stream
from catalog.models import BaseModel, ModelVersion
from catalog.models.registry import ModelVersionState
from catalog.serving_client import Unanswered
from catalog.serving_request import LIMITS, MOST_SEED, MOST_STOPS, MOST_TURNS
from catalog.serving_targets import Target, find_checkpoint
from console.access import get_visible
from jobs.messages import failure_text
from jobs.models import Run
from jobs.training.serving_protocol import Drawing, Said, Sampling, Task, Turn

MOST_PICTURE_BYTES = 4 * 1024 * 1024

# What people are told instead of the English sentence, by code.
REFUSALS = {
    "busy": _("All models that fit into the memory are answering others. Ask again in a moment."),
    "too_many_streams": _("Too many answers are being written at the moment. Ask again in a few seconds."),
    "context_length_exceeded": _(
        "The conversation and the answer are longer than the model reads. Ask for fewer tokens, or begin anew."
    ),
    "killed": _("The model's process was killed, probably because the memory was not enough."),
    "crashed": _("The model's process ended unexpectedly. Ask again."),
    "out_of_memory": _("The machine that serves models has too little memory for this."),
    "not_served": _("No machine serves models here. An operator has to set one up (SERVING_URL)."),
    "serving_unreachable": _("The program that serves models does not answer. Ask again."),
    "endpoint_unreachable": _("The server that answers for this model cannot be reached."),
    "endpoint_broken": _("The server that answers for this model broke off its answer."),
    "invalid_image": _("The picture cannot be read. Send a PNG, JPEG or WebP file."),
}


def _number(name: str, label: Any, initial: float | None, help_text: Any = "") -> forms.Field:
    limit = LIMITS[name]
    field: type[Any] = forms.IntegerField if limit.step == 1 else forms.FloatField
    return field(
        label=label,
        required=False,
        initial=initial,
        help_text=help_text,
        min_value=limit.low,
        max_value=limit.high,
        widget=forms.NumberInput(attrs={"step": limit.step if limit.step == 1 else "any"}),
    )


class SamplingForm(forms.Form):
    """How a text is written. An empty field is what OpenAI's API takes for one that is left out."""

    system = forms.CharField(
        label=_("System prompt"),
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Stands before the conversation."),
    )
    temperature = _number("temperature", _("Temperature"), 0.7, _("0 always takes the likeliest word."))
    top_p = _number("top_p", _("Top p"), 1)
    max_tokens = _number("max_tokens", _("Longest answer (tokens)"), 256)
    repetition_penalty = _number("repetition_penalty", _("Repetition penalty"), 1)
    frequency_penalty = _number("frequency_penalty", _("Frequency penalty"), 0)
    stop = forms.CharField(
        label=_("Stop texts"),
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("One a line, at most four. The answer ends before the first of them."),
    )
    seed = forms.IntegerField(
        label=_("Seed"),
        required=False,
        min_value=0,
        max_value=MOST_SEED,
        help_text=_("The same seed gives the same answer."),
    )

    def clean_stop(self) -> list[str]:
        stops = [line for line in self.cleaned_data["stop"].splitlines() if line]
        if len(stops) > MOST_STOPS:
            raise forms.ValidationError(_("There may be at most four stop texts."))
        return stops

    def options(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.cleaned_data.items() if value not in (None, "")}
        kept.pop("system", None)
        return {"sampling": Sampling(**kept)}


class DrawingForm(forms.Form):
    """How a picture is drawn."""

    steps = forms.IntegerField(
        label=_("Steps"),
        required=False,
        min_value=1,
        max_value=100,
        help_text=_("Empty: as many as suit the machine."),
    )
    guidance = forms.FloatField(
        label=_("Guidance"),
        required=False,
        min_value=0,
        max_value=30,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text=_("How closely the picture follows the prompt. Empty: as the model has it."),
    )
    seed = forms.IntegerField(
        label=_("Seed"),
        required=False,
        min_value=0,
        max_value=2**31,
        initial=0,
        help_text=_("The same seed gives the same picture."),
    )

    def options(self) -> dict[str, Any]:
        return {"drawing": Drawing(**self.cleaned_data)}


@require_GET
@login_required
def version_chat(request: HttpRequest, uid: str) -> HttpResponse:
    return _page(request, _version(request, uid))


@require_POST
@login_required
def version_answer(request: HttpRequest, uid: str) -> HttpResponseBase:
    return _answer(request, _version(request, uid))


@require_GET
@login_required
def checkpoint_chat(request: HttpRequest, uid: str, step: int) -> HttpResponse:
    return _page(request, _checkpoint(request, uid, step))


@require_POST
@login_required
def checkpoint_answer(request: HttpRequest, uid: str, step: int) -> HttpResponseBase:
    return _answer(request, _checkpoint(request, uid, step))


@require_GET
@login_required
def base_model_chat(request: HttpRequest, name: str) -> HttpResponse:
    return _page(request, _base_model(name))


@require_POST
@login_required
def base_model_answer(request: HttpRequest, name: str) -> HttpResponseBase:
    return _answer(request, _base_model(name))


def _version(request: HttpRequest, uid: str) -> Target:
    versions = ModelVersion.objects.filter(state=ModelVersionState.READY)
    versions = versions.select_related("model__workspace", "base_model__family", "run__base_run")
    version = get_visible(versions, request.user, "model__workspace", uid=uid)  # type: ignore[arg-type]
    return Target(version.base_model, version=version)


def _checkpoint(request: HttpRequest, uid: str, step: int) -> Target:
    run = get_visible(Run.objects.select_related("job__workspace"), request.user, "job__workspace", uid=uid)  # type: ignore[arg-type]
    target = find_checkpoint(run.job.workspace, uid, str(step))
    if target is None:
        raise Http404(gettext("This checkpoint cannot be talked to, or no longer exists."))
    return target


def _base_model(name: str) -> Target:
    models = BaseModel.objects.select_related("family").filter(enabled=True)
    return Target(get_object_or_404(models, name=name))


def _page(request: HttpRequest, target: Target) -> HttpResponse:
    base = target.base
    context = {
        "target": target,
        "form": DrawingForm() if target.draws else SamplingForm(),
        "has_base": not target.is_base and (target.base_model.is_bound or base.endpoint() is not None),
        "nav": "catalog" if target.is_base else "models" if target.version else "jobs",
    }
    return render(request, "models/chat.html", context)


def _answer(request: HttpRequest, target: Target) -> HttpResponseBase:
    """Fields of the form, `messages` (JSON), perhaps `picture` (a file), and `side`, which is own or base."""
    form = (DrawingForm if target.draws else SamplingForm)(request.POST)
    errors: dict[str, list[str]] = {}
    if not form.is_valid():
        errors = {key: [str(text) for text in texts] for key, texts in form.errors.items()}
    turns = _turns(request.POST.get("messages", ""))
    if turns is None:
        errors["message"] = [gettext("Type a message first.")]
    picture = request.FILES.get("picture") if target.sees else None
    if picture is not None and (picture.size or 0) > MOST_PICTURE_BYTES:
        errors["picture"] = [gettext("The picture may have 4 MB at most.")]
    if errors or turns is None:
        return JsonResponse({"errors": errors}, status=422)
    if system := form.cleaned_data.get("system"):
        turns = [Turn("system", system), *turns]
    encoded = base64.b64encode(picture.read()).decode() if picture else None
    task = Task(0, turns, picture=encoded, **form.options())  # type: ignore[attr-defined]
    asked = target.base if request.POST.get("side") == "base" else target
    endpoint = asked.endpoint()
    answer = serving_forwarding.answer(endpoint, task) if endpoint else serving_client.answer(asked, task)
    return event_stream(_events(answer))


def _turns(text: str) -> list[Turn] | None:
    """The conversation so far, which ends with a message of the user; None for anything else."""
    try:
        turns = msgspec.json.decode(text, type=list[Turn])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    is_whole = 0 < len(turns) <= MOST_TURNS and turns[-1].role == "user" and turns[-1].content.strip()
    return turns if is_whole else None


def _events(answer: Generator[Said | None]) -> Iterator[bytes]:
    yield b": begins\n\n"
    try:
        with closing(answer):
            for said in answer:
                # Sent even when there is nothing, so that somebody who has gone is noticed.
                yield b"data: " + msgspec.json.encode(said) + b"\n\n" if said else b": wait\n\n"
    except Unanswered as refused:
        text = REFUSALS.get(refused.code) or failure_text(
            {"code": refused.code, "params": refused.params or {}, "message": str(refused)}
        )
        yield b"data: " + msgspec.json.encode(Said("refused", code=refused.code, text=str(text))) + b"\n\n"
