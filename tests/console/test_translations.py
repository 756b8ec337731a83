"""The Simplified Chinese interface: every text is translated, with the same placeholders, and shows.

Texts are found with Babel, so nobody needs GNU gettext to run this; `make messages` collects new ones.
"""

from __future__ import annotations

import ast
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import polib
import pytest
from babel.messages.extract import extract
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import override
from django.utils.translation.template import templatize

from catalog import data_files
from catalog.loading import load
from catalog.models import BaseModel, Model, ModelVersion, Offer
from console.models import Webhook
from console.notifications.kinds import KINDS
from console.notifications.recording import record
from datasets.models import Dataset, DatasetVersion, VersionState
from jobs import lifecycle
from jobs.models import Job, Metric, Run, RunState

ROOT = Path(settings.BASE_DIR)
PO = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
OWN_APPS = ("console", "catalog", "datasets", "jobs")
# What marks a text, and which of its arguments are texts.
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
CHINESE = re.compile(r"[\u3400-\u9fff]")
# %(name)s and its kin, %%, {name}, tags: what must survive translation.
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[ds%]|\{\w+\}|</?\w+>")

Key = tuple[str, str]


def _sources() -> list[Path]:
    return sorted(path for app in OWN_APPS for path in (ROOT / app).rglob("*.py"))


def _texts() -> dict[Key, str]:
    """(context, text) of everything marked for translation, with the file it stands in."""
    found: dict[Key, str] = {}
    templates = sorted((ROOT / "templates").rglob("*.html"))
    for path in [*_sources(), *templates]:
        source = path.read_text()
        if path.suffix == ".html":
            # Parentheses make the indentation of what is left of the template meaningless to the tokenizer.
            source = f"(\n{templatize(source, origin=str(path))}\n)"
        for _line, message, _comments, context in extract(
            "python", io.BytesIO(source.encode()), keywords=KEYWORDS
        ):
            text = message[0] if isinstance(message, tuple) else message
            found.setdefault((context or "", text), str(path.relative_to(ROOT)))
    return found


def _read(file: polib.POFile | polib.MOFile) -> dict[Key, polib.POEntry]:
    """The translated entries by (context, text); fuzzy ones are not."""
    return {(entry.msgctxt or "", entry.msgid): entry for entry in file.translated_entries()}


@pytest.fixture(scope="module")
def entries() -> dict[Key, polib.POEntry]:
    return _read(polib.pofile(str(PO)))


def _translation(entry: polib.POEntry) -> str:
    return entry.msgstr_plural.get(0, "") if entry.msgid_plural else entry.msgstr


# --- The file ----------------------------------------------------------------------------------------------------


def test_every_marked_text_is_translated(entries):
    texts = _texts()
    assert len(texts) > 500, "the search for texts finds too few"
    missing = {text: where for (context, text), where in texts.items() if (context, text) not in entries}
    assert not missing, "run `make messages` and translate these in locale/"


def test_placeholders_survive_translation(entries):
    wrong = {}
    for entry in entries.values():
        # Chinese has one form: it may use the placeholders of either English one.
        allowed = [
            set(PLACEHOLDER.findall(text)) for text in (entry.msgid, entry.msgid_plural or entry.msgid)
        ]
        if set(PLACEHOLDER.findall(_translation(entry))) not in allowed:
            wrong[entry.msgid] = _translation(entry)
    assert not wrong


def test_chinese_sentences_have_chinese_punctuation(entries):
    half_width = re.compile(r"[\u3400-\u9fff][,;:!?(]|[,;!?)][\u3400-\u9fff]")
    found = [text for entry in entries.values() if half_width.search(text := _translation(entry))]
    assert not found


def test_nothing_but_constants_is_marked():
    """gettext(f"…") and gettext(name) cannot be collected, so they would stay English."""
    variable = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            is_mark = isinstance(node, ast.Call) and getattr(node.func, "id", "") in KEYWORDS
            if is_mark and not isinstance(node.args[0], ast.Constant):
                variable.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not variable


def test_the_compiled_file_is_current(entries):
    mo = PO.with_suffix(".mo")
    assert mo.exists(), "run `make translations`"
    compiled = {key: _translation(entry) for key, entry in _read(polib.mofile(str(mo))).items()}
    assert compiled == {key: _translation(entry) for key, entry in entries.items()}, "run `make translations`"


# --- What people see ---------------------------------------------------------------------------------------------


LEFT_OUT = ("script", "style", "code", "pre", "textarea")


class _Visible(HTMLParser):
    """Collects the texts of a page: those between tags and those that attributes show or read aloud.

    Left out: code, keys, what people typed, and what says itself that it is English (the language switch).
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()
        # The element that is left out at present, and how many of its name are open.
        self._skipped, self._depth = "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._depth:
            self._depth += tag == self._skipped
            return
        values = dict(attrs)
        name, classes = values.get("name") or "", set((values.get("class") or "").split())
        is_left_out = tag in LEFT_OUT or name.endswith("-key") or classes & {"mono", "key"}
        if (is_left_out or values.get("lang") == "en") and tag not in ("input", "img"):
            self._skipped, self._depth = tag, 1
        if name.endswith("_en"):
            return  # a field for an English text shows an English one in its place
        shown = ("title", "aria-label", "placeholder", "alt", "data-label")
        self.texts |= {value.strip() for name, value in attrs if value and name in shown}

    def handle_endtag(self, tag: str) -> None:
        self._depth -= bool(self._depth) and tag == self._skipped

    def handle_data(self, data: str) -> None:
        if not self._depth:
            self.texts.add(" ".join(data.split()))


def _english(html: str, entries: dict[Key, polib.POEntry]) -> set[str]:
    """The texts of the page that are, as a whole, an English text which has a Chinese translation."""
    page = _Visible()
    page.feed(html)
    without_chinese = [
        text for text in page.texts if re.search("[A-Za-z]{2}", text) and not CHINESE.search(text)
    ]
    patterns = [
        re.compile(re.sub(r"%\\\(\w+\\\)[a-z]|%[ds]|\\\{\w+\\\}", ".+", re.escape(" ".join(text.split()))))
        for entry in entries.values()
        if CHINESE.search(_translation(entry))
        for text in filter(None, (entry.msgid, entry.msgid_plural))
    ]
    return {text for text in without_chinese if any(pattern.fullmatch(text) for pattern in patterns)}


@pytest.fixture
def things(workspace, alice) -> dict[str, str]:
    """One of each thing that has a page; returns the addresses of the pages."""
    load([f for f in data_files.read_families() if f.key == "ernie-speed"], data_files.read_profiles())
    base = BaseModel.objects.get(name="ERNIE-Speed-8K")
    job = Job.objects.create(workspace=workspace, name="作业", model_type="text2text", created_by=alice)
    common = {"base_model": base, "created_by": alice, "method": "FullFineTuning"}
    run = Run.objects.create(job=job, version=1, state=RunState.RUNNING, started_at=timezone.now(), **common)
    waiting = Run.objects.create(job=job, version=2, **common)
    for number, key in enumerate(("loss", "eval_loss", "learning_rate", "token_accuracy"), 1):
        Metric.objects.create(run=run, key=key, step=1, value=number)
    lifecycle.note(run, "started", host="machine", device="cpu")
    dataset = Dataset.objects.create(workspace=workspace, name="数据", created_by=alice)
    versions = [
        DatasetVersion.objects.create(dataset=dataset, number=number, state=state, row_count=1)
        for number, state in enumerate(VersionState.values, 1)
    ]
    model = Model.objects.create(workspace=workspace, name="模型", model_type="text2text")
    version = ModelVersion.objects.create(model=model, number=1, state="Ready", **common)
    offer = Offer.objects.filter(base_model=base).first()
    hook = Webhook.objects.create(
        workspace=workspace, name="机器人", url="https://例子.cn/", kinds=list(KINDS)
    )
    record("run.failed", workspace.pk, run.uid, {"uid": run.uid, "run": "作业 V1", "failure": None}, alice.pk)
    addresses = {
        "home": reverse("home"),
        "preferences": reverse("preferences"),
        "password": reverse("password"),
        "members": reverse("members"),
        "jobs": reverse("jobs:list"),
        "no job": reverse("jobs:list") + "?q=nothing",
        "job": reverse("jobs:detail", args=[job.uid]),
        "wizard": reverse("jobs:create"),
        "next run": reverse("jobs:new_run", args=[job.uid]),
        "run": reverse("jobs:run", args=[run.uid]),
        "waiting run": reverse("jobs:run", args=[waiting.uid]),
        "metrics": reverse("jobs:metrics", args=[run.uid]) + "?table",
        "datasets": reverse("datasets:list"),
        "new dataset": reverse("datasets:create"),
        "dataset": reverse("datasets:detail", args=[dataset.uid]),
        "dataset settings": reverse("datasets:settings", args=[dataset.uid]),
        "compare versions": reverse("datasets:compare", args=[dataset.uid]),
        "connections": reverse("datasets:connections"),
        "new connection": reverse("datasets:new_connection"),
        "choose a connection": reverse("datasets:choose_connection"),
        "resources": reverse("resources"),
        "notifications": reverse("notifications"),
        "no notification": reverse("notifications") + "?show=unread&kind=webhook.off",
        "what I am told": reverse("notification_settings"),
        "webhooks": reverse("webhooks"),
        "webhook": reverse("webhook", args=[hook.uid]),
        "models": reverse("models:list"),
        "model": reverse("models:detail", args=[model.uid]),
        "model version": reverse("models:version", args=[version.uid]),
        "base models": reverse("catalog:list"),
        "base model": reverse("catalog:detail", args=[base.name]),
        "admin": reverse("admin:index"),
        "admin run": reverse("admin:jobs_run_change", args=[run.pk]),
        "admin base model": reverse("admin:catalog_basemodel_change", args=[base.pk]),
        "admin offer": reverse("admin:catalog_offer_change", args=[offer.pk]),
    }
    addresses |= {f"{item.state} version": reverse("datasets:version", args=[item.uid]) for item in versions}
    for page in ("rows", "statistics", "lineage", "problems", "export", "delete_version"):
        addresses[f"version {page}"] = reverse(f"datasets:{page}", args=[versions[-1].uid])
    for registered in admin.site._registry:
        if registered._meta.app_label in OWN_APPS:
            info = (registered._meta.app_label, registered._meta.model_name)
            addresses["admin {}.{}".format(*info)] = reverse("admin:{}_{}_changelist".format(*info))
    return addresses


def test_no_page_mixes_languages(alice, client_of, things, entries):
    """Also finds texts that were translated when a module was imported: gettext in place of gettext_lazy."""
    alice.language, alice.is_staff, alice.is_superuser = "zh-hans", True, True
    alice.save()
    client = client_of(alice)
    found = {}
    for name, address in things.items():
        response = client.get(address, follow=True, headers={"accept-language": "zh-CN"})
        assert response.status_code == 200, name
        assert CHINESE.search(response.text), name
        # Django's own admin says it in English, as the name of an icon.
        if english := _english(response.text, entries) - ({"Search"} if name.startswith("admin") else set()):
            found[name] = english
    assert not found


def test_visitors_sign_in_in_their_browsers_language(db, entries):
    page = Client().get(reverse("login"), headers={"accept-language": "zh-CN"}).text
    assert "登录" in page
    assert not _english(page, entries)


def test_a_form_that_comes_back_complains_in_chinese(alice, client_of, things, entries):
    alice.language = "zh-hans"
    alice.save()
    page = client_of(alice).post(things["wizard"], {"name": "", "type": "text2text"}).text
    assert "请更正以下内容：" in page
    assert not _english(page, entries)


def test_the_check_finds_english(entries):
    assert _english("<h1>Create training job</h1>", entries) == {"Create training job"}
    assert _english('<a title="Next page">下一页</a>', entries) == {"Next page"}


@pytest.mark.parametrize("app", OWN_APPS)
def test_fields_have_names_that_can_be_translated(app):
    """Every field that the admin may show; a name made from the attribute would stay English. What the database
    computes is in no form."""
    plain = [
        f"{model.__name__}.{field.name}"
        for model in apps.get_app_config(app).get_models()
        for field in model._meta.fields
        if not field.primary_key and field.name != "loaded" and not field.generated
        if not isinstance(field.verbose_name, Promise)
    ]
    assert not plain


def test_numbers_are_grouped():
    from django.contrib.humanize.templatetags.humanize import intcomma

    with override("zh-hans"):
        assert intcomma(1234567) == "1,234,567"
