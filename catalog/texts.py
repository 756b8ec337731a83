"""Texts that carry Chinese and English themselves, as everything in the catalogue does."""

from django.utils.translation import get_language


def pick(chinese: str, english: str) -> str:
    """The text in the active language: Chinese for any Chinese (zh-hans, zh-cn, zh), English otherwise.
    Where English is blank, Chinese rather than nothing."""
    is_chinese = (get_language() or "").lower().startswith("zh")
    return chinese if is_chinese else english or chinese


def localized(obj: object, name: str) -> str:
    """The text `name` of `obj` in the active language, from its attributes `name_zh` and `name_en`."""
    return pick(getattr(obj, f"{name}_zh"), getattr(obj, f"{name}_en"))
