"""Settings of the tests: real services (PostgreSQL and a Redis-protocol server from wheels), cheap passwords.

With DATABASE_URL / REDIS_URL set, those services are used instead of embedded ones.
"""

import atexit
import os
import shutil
import tempfile

if "TEST_VAR_DIR" not in os.environ:
    # One directory a test run, so that two runs never share a database; pytest-xdist's workers inherit it.
    os.environ["TEST_VAR_DIR"] = tempfile.mkdtemp(prefix="jingtiao-test-")
    # Registered first, so it runs last: after the embedded services have stopped.
    atexit.register(shutil.rmtree, os.environ["TEST_VAR_DIR"], ignore_errors=True)

os.environ["VAR_DIR"] = os.environ["TEST_VAR_DIR"]
os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "x" * 50)
os.environ.setdefault("TRAINER_THREADS", "1")
os.environ.setdefault("TRAINER_DEVICE", "cpu")
os.environ.setdefault("TRAINER_WARM", "0")  # tests/forks.py has one for all tests
os.environ.setdefault("LANGUAGE_CODE", "en")
# Playwright's synchronous API keeps an event loop running, in which Django would refuse plain queries.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

from console import embedded

embedded.ensure_services()
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Each pytest-xdist worker has a database of its own in PostgreSQL, and one in the broker (of 16).
    address, _slash, _number = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{address}/{int(worker.removeprefix('gw')) % 15 + 1}"

from console.settings import *  # noqa: E402, F403
from console.settings import STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Without the manifest, which needs collectstatic.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
