"""Simplified Chinese: Django groups no digits, while rows, characters and tokens run to millions here."""

THOUSAND_SEPARATOR = ","
NUMBER_GROUPING = 3
