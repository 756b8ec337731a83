"""The catalogue for operators: what is offered, with which figures, and where the weights lie."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from catalog import registry_admin, rules, serving_admin  # noqa: F401 -- register their models
from catalog.hyperparameters import HYPERPARAMETERS
from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter, WeightsKind
from catalog.values import InvalidValue, Kind, Value, format_number, parse


class CatalogueAdmin(admin.ModelAdmin):
    """Text areas small enough for two languages beside each other."""

    save_on_top = True

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        for field in form.base_fields.values():
            if isinstance(field.widget, forms.Textarea):
                field.widget.attrs["rows"] = 3
        return form


class BaseModelInline(admin.TabularInline):
    model = BaseModel
    fields = ("name", "runs_on", "is_bound", "enabled", "order")
    readonly_fields = ("name", "runs_on", "is_bound")
    extra = 0
    can_delete = False
    show_change_link = True

    @admin.display(description=_("bound"), boolean=True)
    def is_bound(self, obj: BaseModel) -> bool:
        return obj.is_bound

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a base model has more to fill in than one line holds


@admin.register(ModelFamily)
class ModelFamilyAdmin(CatalogueAdmin):
    list_display = ("label", "model_type", "base_model_count", "order")
    list_filter = ("model_type",)
    search_fields = ("key", "name", "name_en", "description_zh", "description_en")
    prepopulated_fields = {"key": ("name",)}
    inlines = (BaseModelInline,)
    fieldsets = (
        (None, {"fields": (("name", "name_en"), "key", "model_type", "order")}),
        (_("Description"), {"fields": (("description_zh", "description_en"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelFamily]:
        return super().get_queryset(request).annotate(count=Count("base_models"))

    @admin.display(description=_("name"), ordering="name")
    def label(self, obj: ModelFamily) -> str:
        return obj.label

    @admin.display(description=_("base models"), ordering="count")
    def base_model_count(self, obj: Any) -> int:
        return obj.count


class BoundFilter(admin.SimpleListFilter):
    title = _("weights")
    parameter_name = "bound"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Bound")), ("no", _("Not bound"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BaseModel]) -> QuerySet[BaseModel]:
        match self.value():
            case "yes":
                return queryset.exclude(weights_kind=WeightsKind.NONE)
            case "no":
                return queryset.filter(weights_kind=WeightsKind.NONE)
        return queryset


class OfferInline(admin.TabularInline):
    model = Offer
    fields = ("method", "enabled", "order")
    extra = 0
    show_change_link = True


@admin.register(BaseModel)
class BaseModelAdmin(CatalogueAdmin):
    list_display = ("label", "family", "model_type", "runs_on", "is_bound", "enabled")
    list_editable = ("enabled",)
    list_filter = ("enabled", BoundFilter, "family__model_type", "is_stand_in", "architecture", "family")
    list_select_related = ("family",)
    search_fields = ("name", "name_en", "runs_on", "description_zh", "description_en", "weights_location")
    inlines = (OfferInline,)
    fieldsets = (
        (None, {"fields": ("family", ("name", "name_en"), ("enabled", "order"))}),
        (
            _("Weights"),
            {
                "fields": (
                    ("weights_kind", "weights_location", "weights_revision"),
                    "trust_remote_code",
                    ("runs_on", "is_stand_in"),
                    ("architecture", "parameter_count", "context_length"),
                ),
                "description": _(
                    "A base model can be trained once it is bound to weights: safetensors files with their "
                    "config.json and tokenizer, in a directory that every training machine sees under the same "
                    "path, in a hub repository, or in object storage. “Runs on” says which open weights belong "
                    "to the name; any others of the same architecture work too, small ones for a trial as well."
                ),
            },
        ),
        (_("Description"), {"fields": (("description_zh", "description_en"),)}),
        (_("Licence"), {"fields": (("license_zh", "license_en"),), "classes": ("collapse",)}),
    )

    @admin.display(description=_("name"), ordering="name")
    def label(self, obj: BaseModel) -> str:
        return obj.label

    @admin.display(description=_("model type"), ordering="family__model_type")
    def model_type(self, obj: BaseModel) -> str:
        return obj.family.get_model_type_display()

    @admin.display(description=_("bound"), boolean=True)
    def is_bound(self, obj: BaseModel) -> bool:
        return obj.is_bound


class PlainField(forms.CharField):
    """A value of any kind as plain text: 3e-5, cosine, or several with commas between them."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return ", ".join(str(self.prepare_value(item)) for item in value)
        return format_number(value) if isinstance(value, int | float) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class HyperparameterForm(forms.ModelForm):
    """Default and choices as plain text; the key's general texts show where the offer has none of its own."""

    default = PlainField(label=_("Default"))
    choices = PlainField(
        label=_("Choices"), required=False, help_text=_("With commas; instead of a minimum and a maximum.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        entry = HYPERPARAMETERS.get(self.instance.key)
        if entry is None:
            return
        for name in ("label_zh", "label_en", "help_zh", "help_en"):
            self.fields[name].widget.attrs["placeholder"] = getattr(entry, name)
        if entry.kind.is_number:
            limits = {
                "low": format_number(entry.limits.low or 0),
                "high": format_number(entry.limits.high or 0),
            }
            for name in ("minimum", "maximum"):
                self.fields[name].help_text = gettext("The trainer's limits: %(low)s to %(high)s.") % limits
                bound = getattr(self.instance, name)
                if bound is not None and bound.is_integer():
                    self.initial[name] = int(bound)  # shown as 50, not as 50.0
        else:
            self.fields["choices"].help_text = gettext("Any of: %(values)s.") % {
                "values": ", ".join(entry.choice_values)
            }

    def clean_choices(self) -> list[Value] | None:
        """The choices as values of the hyperparameter's kind; the model checks them further."""
        text = self.cleaned_data["choices"]
        entry = HYPERPARAMETERS.get(self.cleaned_data.get("key", ""))
        if not text or entry is None:
            return None
        kind = Kind.CHOICE if entry.kind is Kind.MULTI_CHOICE else entry.kind
        try:
            return [parse(kind, item) for item in text.split(",")]
        except InvalidValue as error:
            raise ValidationError(str(error)) from error


class HyperparameterFormSet(BaseInlineFormSet):
    """Checks the hyperparameters of an offer together, once each for itself is right."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        forms_by_key = {
            form.instance.key: form
            for form in self.forms
            if form.instance.key and not form.cleaned_data.get("DELETE")
        }
        errors = rules.together_errors([form.instance for form in forms_by_key.values()])
        for key, message in errors.items():
            forms_by_key[key].add_error("default", message)
        if errors:
            raise ValidationError(gettext("The hyperparameters do not go together; see below."))


class HyperparameterInline(admin.StackedInline):
    model = OfferedHyperparameter
    form = HyperparameterForm
    formset = HyperparameterFormSet
    extra = 0
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("key", "order", "advanced"),
                    ("default", "minimum", "maximum", "choices"),
                    "source",
                )
            },
        ),
        (
            _("Own texts"),
            {"fields": (("label_zh", "label_en"), ("help_zh", "help_en")), "classes": ("collapse",)},
        ),
    )

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, forms.Textarea):
            field.widget.attrs["rows"] = 3
        return field


@admin.register(Offer)
class OfferAdmin(CatalogueAdmin):
    list_display = ("base_model", "method", "hyperparameter_count", "enabled")
    list_editable = ("enabled",)
    list_filter = ("enabled", "method", "base_model__family__model_type", "base_model__family")
    list_select_related = ("base_model",)
    search_fields = ("base_model__name", "base_model__name_en")
    autocomplete_fields = ("base_model",)
    inlines = (HyperparameterInline,)
    fieldsets = (
        (None, {"fields": ("base_model", "method", ("enabled", "order"))}),
        (_("Own help"), {"fields": (("help_zh", "help_en"),), "classes": ("collapse",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Offer]:
        return super().get_queryset(request).annotate(count=Count("hyperparameters"))

    @admin.display(description=_("hyperparameters"), ordering="count")
    def hyperparameter_count(self, obj: Any) -> int:
        return obj.count
