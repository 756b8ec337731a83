"""What is offered for training: model families, base models (versions), offers and their hyperparameters.

The rows come from catalog/data (`manage.py load_catalog`) and are the operators' from then on: admin may
change everything, and loading again keeps what they changed (see catalog/loading.py).
"""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from catalog import rules
from catalog.hyperparameters import GROUPS, HYPERPARAMETERS, Group, Hyperparameter, key_choices
from catalog.methods import METHODS, Method, method_choices
from catalog.texts import localized, pick


class ModelType(models.TextChoices):
    """作业类型: what a family of models does. Values are those of Qianfan's API."""

    TEXT_TO_TEXT = "text2text", _("Large language model")
    TEXT_TO_IMAGE = "text2image", _("Text-to-image model")
    IMAGE_UNDERSTANDING = "imageUnderstanding", _("Image understanding model")


class WeightsKind(models.TextChoices):
    """Where a base model's weights lie."""

    NONE = "none", _("Not bound")
    DIRECTORY = "directory", _("Directory on this machine")
    HUB = "hub", _("Hugging Face hub repository")
    S3 = "s3", _("Object storage (S3 or BOS)")


class Loaded(models.Model):
    """A row that the data files know. `loaded` keeps the fields as they were loaded last, so that a later
    load can tell an operator's change from an old figure."""

    loaded = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        abstract = True


class ModelFamily(Loaded):
    """基础模型: a family such as ERNIE Speed; its base models are versions of it."""

    key = models.SlugField(_("key"), unique=True)
    name = models.CharField(_("name"), max_length=80, unique=True)
    name_en = models.CharField(_("name in English"), max_length=80, blank=True)
    description_zh = models.TextField(_("description in Chinese"), blank=True)
    description_en = models.TextField(_("description in English"), blank=True)
    model_type = models.CharField(_("model type"), max_length=20, choices=ModelType)
    order = models.PositiveSmallIntegerField(_("order"), default=0)

    class Meta:
        ordering = ["order", "pk"]
        verbose_name = _("model family")
        verbose_name_plural = _("model families")

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        """The name in the active language; most names are the same in both."""
        return pick(self.name, self.name_en)

    @property
    def description(self) -> str:
        return localized(self, "description")


class BaseModel(Loaded):
    """版本: one model that can be trained, such as ERNIE-Speed-8K.

    `runs_on` names the open weights behind the name. Where the model of that name has never been
    published, `is_stand_in` says that other weights stand in for it. A base model trains only once an
    operator has bound it to a place where those weights lie.
    """

    family = models.ForeignKey(
        ModelFamily, verbose_name=_("family"), on_delete=models.PROTECT, related_name="base_models"
    )
    name = models.CharField(_("name"), max_length=80, unique=True)
    name_en = models.CharField(_("name in English"), max_length=80, blank=True)
    description_zh = models.TextField(_("description in Chinese"), blank=True)
    description_en = models.TextField(_("description in English"), blank=True)
    context_length = models.PositiveIntegerField(_("context length (tokens)"), null=True, blank=True)
    order = models.PositiveSmallIntegerField(_("order"), default=0)
    enabled = models.BooleanField(_("enabled"), default=True, help_text=_("Whether new jobs may choose it."))
    license_zh = models.TextField(_("licence note in Chinese"), blank=True)
    license_en = models.TextField(_("licence note in English"), blank=True)
    runs_on = models.CharField(
        _("runs on"),
        max_length=200,
        blank=True,
        help_text=_("The open weights behind the name, for example baidu/ERNIE-4.5-0.3B-PT."),
    )
    is_stand_in = models.BooleanField(
        _("stand-in"),
        default=False,
        help_text=_("The weights of that name are not published; the weights named here stand in for them."),
    )
    architecture = models.CharField(
        _("architecture"),
        max_length=40,
        blank=True,
        help_text=_("How the trainer loads the weights, for example ernie4_5 or llama."),
    )
    parameter_count = models.PositiveBigIntegerField(_("number of parameters"), null=True, blank=True)
    weights_kind = models.CharField(
        _("weights"), max_length=12, choices=WeightsKind, default=WeightsKind.NONE
    )
    weights_location = models.CharField(
        _("location"),
        max_length=500,
        blank=True,
        help_text=_(
            "An absolute path, a repository such as owner/name, or an address such as s3://bucket/folder/."
        ),
    )
    weights_revision = models.CharField(
        _("revision"),
        max_length=100,
        blank=True,
        help_text=_("A branch, tag or commit of the hub repository; empty means its main branch."),
    )
    trust_remote_code = models.BooleanField(
        _("trust remote code"),
        default=False,
        help_text=_(
            "Runs Python code that comes with the weights. Leave it off unless you have read that code; "
            "no model of the catalogue needs it."
        ),
    )

    class Meta:
        ordering = ["family__order", "order", "pk"]
        verbose_name = _("base model")
        verbose_name_plural = _("base models")

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        return pick(self.name, self.name_en)

    @property
    def description(self) -> str:
        return localized(self, "description")

    @property
    def license(self) -> str:
        return localized(self, "license")

    @property
    def is_bound(self) -> bool:
        """Whether an operator has said where its weights lie. Says nothing about whether they are there
        now."""
        return self.weights_kind != WeightsKind.NONE and bool(self.weights_location)

    def clean(self) -> None:
        super().clean()
        rules.check_binding(self.weights_kind, self.weights_location, self.weights_revision)


class Offer(Loaded):
    """A base model under a training method: which hyperparameters it has, with default and range or
    choices."""

    base_model = models.ForeignKey(
        BaseModel, verbose_name=_("base model"), on_delete=models.CASCADE, related_name="offers"
    )
    method = models.CharField(_("training method"), max_length=40, choices=method_choices)
    order = models.PositiveSmallIntegerField(_("order"), default=0)
    help_zh = models.TextField(
        _("help in Chinese"), blank=True, help_text=_("Empty: the general help of the method.")
    )
    help_en = models.TextField(
        _("help in English"), blank=True, help_text=_("Empty: the general help of the method.")
    )
    enabled = models.BooleanField(_("enabled"), default=True, help_text=_("Whether new runs may choose it."))

    class Meta:
        ordering = ["base_model", "order", "pk"]
        verbose_name = _("offer")
        verbose_name_plural = _("offers")
        constraints = [
            models.UniqueConstraint(
                fields=["base_model", "method"],
                name="offer_once",
                violation_error_message=_("This base model already has an offer with this method."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.base_model} · {self.method_label}"

    @property
    def entry(self) -> Method:
        return METHODS[self.method]

    @property
    def method_label(self) -> str:
        return localized(self.entry, "label")

    @property
    def help(self) -> str:
        return _own_or_general(self, self.entry, "help")


class OfferedHyperparameter(Loaded):
    """One hyperparameter as one offer has it. Kind, condition and general texts are those of its entry in
    catalog.hyperparameters; texts here replace the general ones where they are not blank."""

    offer = models.ForeignKey(
        Offer, verbose_name=_("offer"), on_delete=models.CASCADE, related_name="hyperparameters"
    )
    key = models.CharField(_("key"), max_length=40, choices=key_choices)
    order = models.PositiveSmallIntegerField(_("order"), default=0)
    default = models.JSONField(_("default"))
    minimum = models.FloatField(_("minimum"), null=True, blank=True)
    maximum = models.FloatField(_("maximum"), null=True, blank=True)
    choices = models.JSONField(
        _("choices"), null=True, blank=True, help_text=_("A JSON list; instead of a minimum and a maximum.")
    )
    label_zh = models.CharField(_("label in Chinese"), max_length=80, blank=True)
    label_en = models.CharField(_("label in English"), max_length=80, blank=True)
    help_zh = models.TextField(_("help in Chinese"), blank=True)
    help_en = models.TextField(_("help in English"), blank=True)
    advanced = models.BooleanField(
        _("advanced"),
        null=True,
        blank=True,
        help_text=_("Folded away at first; empty: as usual for this key."),
    )
    source = models.CharField(
        _("source of the figures"),
        max_length=120,
        blank=True,
        help_text=_("Where default and range come from."),
    )

    class Meta:
        ordering = ["offer", "order", "pk"]
        verbose_name = _("hyperparameter")
        verbose_name_plural = _("hyperparameters")
        constraints = [
            models.UniqueConstraint(
                fields=["offer", "key"],
                name="offered_hyperparameter_once",
                violation_error_message=_("This offer already has this hyperparameter."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.key})" if self.key in HYPERPARAMETERS else self.key

    @property
    def entry(self) -> Hyperparameter:
        return HYPERPARAMETERS[self.key]

    @property
    def method(self) -> str:
        return self.offer.method

    @property
    def label(self) -> str:
        return _own_or_general(self, self.entry, "label")

    @property
    def help(self) -> str:
        return _own_or_general(self, self.entry, "help")

    @property
    def unit(self) -> str:
        return localized(self.entry, "unit")

    @property
    def group(self) -> Group:
        return GROUPS[self.entry.group]

    @property
    def is_advanced(self) -> bool:
        return self.entry.advanced if self.advanced is None else self.advanced

    @property
    def choice_labels(self) -> list[tuple[Any, str]]:
        """Pairs of value and label in the active language, in the order offered; empty without choices."""
        labels = {choice.value: localized(choice, "label") for choice in self.entry.choices}
        return [(value, labels.get(value, str(value))) for value in self.choices or []]

    def clean(self) -> None:
        super().clean()
        if self.key not in HYPERPARAMETERS:
            return  # the field's own choices report it
        errors = rules.figure_errors(
            self.entry, self.method, self.default, self.minimum, self.maximum, self.choices
        )
        if errors:
            raise ValidationError(errors)
        # 1 and 1.0, "true" and "True" mean the same; one form is stored.
        self.default = rules.parsed_default(self.entry, self.default)


def _own_or_general(own: Offer | OfferedHyperparameter, general: Method | Hyperparameter, name: str) -> str:
    """The text of the offer where it has one, else the general one; decided for each language, because the
    seed's own wording often differs by no more than a full stop, which leaves the English text general."""
    return pick(
        getattr(own, f"{name}_zh") or getattr(general, f"{name}_zh"),
        getattr(own, f"{name}_en") or getattr(general, f"{name}_en"),
    )
