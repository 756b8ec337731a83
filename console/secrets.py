"""Secrets that have to be read again (secret keys, of which a hash is not enough), encrypted at rest.

Every purpose has a key of its own, derived from SECRET_KEY: a text encrypted for one cannot be read as another.
When SECRET_KEY changes, the old one goes into SECRET_KEY_FALLBACKS until `manage.py reencrypt_keys` has run.
"""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db.models import Model, QuerySet

API_KEYS = "jingtiao: secrets of API keys"
CONNECTIONS = "jingtiao: secrets of connections"
SERVING = "jingtiao: keys of serving endpoints"
HUBS = "jingtiao: tokens of model hubs"
TRACKING = "jingtiao: secrets of tracking servers"
WEBHOOKS = "jingtiao: secrets of webhooks"


@lru_cache(maxsize=16)
def _derived(secret_key: str, purpose: str) -> Fernet:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode())
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret_key.encode())))


def _cipher(purpose: str) -> MultiFernet:
    """Encrypts with SECRET_KEY, decrypts also with those before it."""
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return MultiFernet([_derived(key, purpose) for key in keys])


def encrypt(text: str, purpose: str) -> str:
    return _cipher(purpose).encrypt(text.encode()).decode()


def decrypt(encrypted: str, purpose: str) -> str:
    """The text in clear. Raises InvalidToken where SECRET_KEY was changed without a fallback."""
    return _cipher(purpose).decrypt(encrypted.encode()).decode()


def reencrypt(rows: QuerySet[Model], field: str, purpose: str) -> tuple[int, int]:
    """Encrypts a field of every row with the present SECRET_KEY; returns how many it could read, how many not."""
    done = lost = 0
    for pk, encrypted in rows.values_list("pk", field).iterator():
        try:
            renewed = _cipher(purpose).rotate(encrypted.encode()).decode()
        except InvalidToken:
            lost += 1
            continue
        rows.filter(pk=pk).update(**{field: renewed})
        done += 1
    return done, lost
