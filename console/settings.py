"""Settings. Everything that differs between installations is read from the environment through console.env;
a newcomer needs no variable at all. The table in README.md lists them.
"""

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key
from django.utils.translation import gettext_lazy as _

from console import env
from console.oidc import configuration

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var"))).resolve()


def _secret_key() -> str:
    """SECRET_KEY, or a key made once and kept under var/ (embedded default)."""
    if key := env.text("SECRET_KEY"):
        return key
    path = VAR_DIR / "secret_key"
    if not path.exists():
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        # O_EXCL: of several processes that start together one writes the key, the others read it.
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text()
        with os.fdopen(descriptor, "w") as file:
            file.write(get_random_secret_key())
    return path.read_text()


def _package_dir(name: str) -> Path:
    """Where an installed package lies, without importing it; raises ImproperlyConfigured if it is missing."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ImproperlyConfigured(f"the package {name} is not installed: make install")
    return Path(found.origin).parent


SECRET_KEY = _secret_key()
# Keys before this one: what they signed and encrypted is still accepted.
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
DEBUG = env.boolean("DEBUG", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
HTTPS = env.boolean("HTTPS", False)

INSTALLED_APPS = [
    # Before console, which registers its own table for it (AUDITLOG_LOGENTRY_MODEL) and the admin's page of that.
    "auditlog",
    "console",
    "catalog",
    "datasets",
    "jobs",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "csp",
    # For its static files: Swagger UI (console/rest/docs.py).
    "ninja",
    "axes",
    # Always, although they are used with OIDC_ISSUER alone: their rows belong to people, who could not be deleted
    # where the tables are there and the apps are not.
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
]

MIDDLEWARE = [
    "console.metrics.RequestTimesMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "console.middleware.SignedOutMiddleware",
    "console.middleware.PreferencesMiddleware",
    "console.audit.AuditMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "console.urls"
WSGI_APPLICATION = "console.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "console.context_processors.shell",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static"],
        },
    },
]

# --- PostgreSQL, Redis, Celery -------------------------------------------------------------------------------

DATABASES = {"default": env.database("DATABASE_URL", "postgresql:///jingtiao")}
# Persistent connections: a page needs no new connection. Worker threads close theirs after each task.
DATABASES["default"]["CONN_MAX_AGE"] = env.integer("DATABASE_CONN_MAX_AGE", 60, minimum=0)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Longer than the longest pause before something is sent again (console/notifications/outbox.py): a message that waits
# for its time would else be handed to a second worker meanwhile.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 6 * 3600,
    # Seconds. A broker that accepts connections and does not answer must not hold up whoever submits a run: beat sends
    # the wake-up again. Workers wait for messages a second at a time.
    "socket_timeout": 4,
    "socket_connect_timeout": 4,
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 1,
    "interval_start": 0.2,
    "interval_step": 0,
    "interval_max": 0.2,
}
CELERY_TASK_IGNORE_RESULT = True
# A message is acknowledged when it is received: the database, not the broker, knows what is still to be done.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"jobs.tasks.run_training": {"queue": "training"}}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    # Wakes workers for whatever the database says is waiting: heals lost messages and dead workers.
    "dispatch": {
        "task": "jobs.tasks.dispatch",
        "schedule": timedelta(seconds=5),
        "options": {"expires": 5},
    },
    "resume-imports": {
        "task": "datasets.tasks.resume_imports",
        "schedule": timedelta(seconds=15),
        "options": {"expires": 15},
    },
    "send-metrics": {
        "task": "jobs.tasks.send_metrics",
        "schedule": timedelta(seconds=60),
        "options": {"expires": 60},
    },
    "resume-pushes": {
        "task": "catalog.tasks.resume_pushes",
        "schedule": timedelta(seconds=30),
        "options": {"expires": 30},
    },
    "discard-old-uploads": {
        "task": "datasets.tasks.discard_old_uploads",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3600},
    },
    "delete-old-checkpoints": {
        "task": "jobs.tasks.delete_old_checkpoints",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3600},
    },
    "resume-deletions": {
        "task": "console.tasks.resume_deletions",
        "schedule": timedelta(seconds=60),
        "options": {"expires": 60},
    },
    "send-due": {
        "task": "console.tasks.send_due",
        "schedule": timedelta(seconds=60),
        "options": {"expires": 60},
    },
    "watch-limits": {
        "task": "jobs.tasks.watch_limits",
        "schedule": timedelta(seconds=60),
        "options": {"expires": 60},
    },
    "delete-old-notifications": {
        "task": "console.tasks.delete_old_notifications",
        "schedule": timedelta(days=1),
        "options": {"expires": 3600},
    },
    "delete-old-audit-entries": {
        "task": "console.tasks.delete_old_audit_entries",
        "schedule": timedelta(days=1),
        "options": {"expires": 3600},
    },
}

# --- Files ---------------------------------------------------------------------------------------------------

STORAGES = {
    "default": env.storage("STORAGE_URL", f"file://{VAR_DIR / 'storage'}"),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    # Chart.js comes in this package; the package itself (an admin theme) is not installed as an app.
    ("chartjs", _package_dir("unfold") / "static" / "unfold" / "js" / "chart"),
]
# Uploads are written to disk as they arrive; never held in memory beyond this.
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# A picture of 4 MB in base64, which chat.completions takes, and some text.
DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024
FILE_UPLOAD_TEMP_DIR = None
# A larger file is refused at its field.
DATASET_MAX_FILE_MB = env.integer("DATASET_MAX_FILE_MB", 10240, minimum=1)
# Servers inside the operator's own network that connections to object storage may lead to: host names, addresses and
# networks (minio.example.org, 10.1.0.0/16). Everything else that is not on the public internet is refused.
ALLOWED_PRIVATE_ENDPOINTS = env.words("ALLOWED_PRIVATE_ENDPOINTS")
# Files that browsers send in pieces; all web processes share this directory. Best on the storage's own disk, where
# a file that has arrived is moved instead of copied.
UPLOADS_DIR = Path(env.text("UPLOADS_DIR", str(VAR_DIR / "uploads"))).resolve()
# What the unfinished uploads of one workspace may have together.
UPLOADS_MAX_GB = env.integer("UPLOADS_MAX_GB", 100, minimum=1)

# --- Operations ----------------------------------------------------------------------------------------------

# Whoever brings it (Authorization: Bearer …) may read /metrics; empty: signed-in operators only.
METRICS_TOKEN = env.text("METRICS_TOKEN")
# Request times of all web processes of this machine; emptied when the console starts.
METRICS_DIR = VAR_DIR / "metrics"

# The log of what people change: in a table of our own, values as JSON, objects by their names.
AUDITLOG_LOGENTRY_MODEL = "console.AuditEntry"
# Else its migrations would make the table that is not used all the same.
MIGRATION_MODULES = {"auditlog": None}
AUDITLOG_STORE_JSON_CHANGES = True
AUDITLOG_USE_FK_STRING_REPRESENTATION = True
# Entries that are older are deleted; 0 keeps them for ever.
AUDIT_KEEP_DAYS = env.integer("AUDIT_KEEP_DAYS", 0, minimum=0)

# Calls that a key may make a minute, over all APIs: that read, and that change something; 0: any number.
API_READS_A_MINUTE = env.integer("API_READS_A_MINUTE", 600, minimum=0)
API_WRITES_A_MINUTE = env.integer("API_WRITES_A_MINUTE", 60, minimum=0)

# --- Notifications -------------------------------------------------------------------------------------------

# The address under which people reach the console, for links in e-mails and webhooks.
_host = env.text("HOST", "127.0.0.1")
PUBLIC_URL = env.url(
    "PUBLIC_URL", f"http://{f'[{_host}]' if ':' in _host else _host}:{env.integer('PORT', 8000, minimum=1)}"
)
# The mail server; without one nothing is sent by e-mail.
MAIL_SERVER = env.mail_server("EMAIL_URL")
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if MAIL_SERVER else 'dummy'}.EmailBackend"
EMAIL_HOST = MAIL_SERVER.get("host", "localhost")
EMAIL_PORT = MAIL_SERVER.get("port", 25)
EMAIL_HOST_USER = MAIL_SERVER.get("username", "")
EMAIL_HOST_PASSWORD = MAIL_SERVER.get("password", "")
EMAIL_USE_TLS = MAIL_SERVER.get("use_tls", False)
EMAIL_USE_SSL = MAIL_SERVER.get("use_ssl", False)
EMAIL_TIMEOUT = 20
# Whom mails come from: "Jingtiao <console@example.com>".
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("EMAIL_FROM")
# Notifications and deliveries that are older are deleted; 0 keeps them for ever.
NOTIFICATIONS_KEEP_DAYS = env.integer("NOTIFICATIONS_KEEP_DAYS", 90, minimum=0)
# Whoever started an idle run is told each time it was interrupted so often.
PREEMPTIONS_NOTED = env.integer("PREEMPTIONS_NOTED", 3, minimum=1)

# --- Training ------------------------------------------------------------------------------------------------

# Run directories: on a disk of the machine that trains (or one that all workers share).
# Event files for TensorBoard, one folder a workspace (jobs/tracking/tensorboard.py).
TENSORBOARD_DIR = Path(env.text("TENSORBOARD_DIR", str(VAR_DIR / "tensorboard"))).resolve()
RUNS_DIR = Path(env.text("RUNS_DIR", str(VAR_DIR / "runs"))).resolve()
# Weights that the console made or fetched.
WEIGHTS_DIR = Path(env.text("WEIGHTS_DIR", str(VAR_DIR / "weights"))).resolve()
# Tokenised rows that runs on the same data share; may be deleted at any time.
TOKENS_DIR = Path(env.text("TOKENS_DIR", str(VAR_DIR / "tokens"))).resolve()
# Runs that one training worker carries out at the same time.
TRAINING_SLOTS = env.integer("TRAINING_SLOTS", 1, minimum=1)
# Threads a trainer may use; 0 leaves it to torch.
TRAINER_THREADS = env.integer("TRAINER_THREADS", 0, minimum=0)
TRAINER_DEVICE = env.choice("TRAINER_DEVICE", "auto", ("auto", "cpu", "cuda"))
# Whether a training worker keeps a process ready for each slot that has loaded the training libraries (0.5 GB), which
# forks for each run.
TRAINER_WARM = env.boolean("TRAINER_WARM", True)
# The interpreter that has the training libraries.
TRAINER_PYTHON = env.text("TRAINER_PYTHON", "")
# Whether a published adapter gets full weights beside it, the adapter merged in: auto merges where disk and memory
# suffice.
PUBLISH_MERGED = env.choice("PUBLISH_MERGED", "auto", ("auto", "always", "never"))
# A follower that has not reported for so long is taken for dead and its run is given to another.
LEASE_SECONDS = env.integer("LEASE_SECONDS", 20, minimum=5)
# How often a run is started again after its trainer died without a word (kill -9, out of memory).
MAX_TRAINER_RESTARTS = env.integer("MAX_TRAINER_RESTARTS", 3, minimum=0)
# How old the result of a run may be for another one to build on it (incremental training).
INCREMENTAL_MAX_AGE_DAYS = env.integer("INCREMENTAL_MAX_AGE_DAYS", 31, minimum=1)

# --- Serving (trying models out) ----------------------------------------------------------------------------

# The program that loads models and answers (manage.py serve_models); `manage.py up` runs one and sets this.
SERVING_URL = env.text("SERVING_URL")
# Models that it keeps in the memory at once, and seconds after which one that nobody asks is ended.
SERVING_MODELS = env.integer("SERVING_MODELS", 2, minimum=1)
SERVING_IDLE_SECONDS = env.integer("SERVING_IDLE_SECONDS", 600, minimum=1)
# Answers that one web process waits for at once: each holds one of its threads.
CHAT_STREAMS = env.integer("CHAT_STREAMS", 4, minimum=1)

# What the prices of pools are in (ISO 4217).
CURRENCY = env.text("CURRENCY", "CNY")

# --- People, languages ---------------------------------------------------------------------------------------

AUTH_USER_MODEL = "console.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# The identity provider that people may sign in with (console/oidc/).
OIDC = configuration.read()
SOCIALACCOUNT_ADAPTER = "console.oidc.people.People"
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
ACCOUNT_ADAPTER = "console.oidc.people.Accounts"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SIGNUP_FIELDS = ["username*"]
ACCOUNT_UNIQUE_EMAIL = False
# Off: people come through the identity provider only.
PASSWORD_SIGN_IN = env.boolean("PASSWORD_SIGN_IN", True)
if not PASSWORD_SIGN_IN and OIDC is None:
    raise ImproperlyConfigured("PASSWORD_SIGN_IN=false needs OIDC_ISSUER: nobody could sign in")
AUTHENTICATION_BACKENDS = [
    # First: whoever failed too often is refused before any password is looked at.
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend" if PASSWORD_SIGN_IN else "console.sign_in.NoPasswords",
]
# So many failures for one name from one address, and for so long after the last of them nobody gets in from there
# under that name.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=10)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
# The time that somebody was told stays true, however often they try meanwhile.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "console.audit.address_of"
AXES_LOCKOUT_CALLABLE = "console.sign_in.locked_out"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# The log of the process names who failed from where; passwords are hidden in any case.
AXES_SENSITIVE_PARAMETERS: list[str] = []

LANGUAGES = [("zh-hans", _("Simplified Chinese")), ("en", _("English"))]
LANGUAGE_CODE = env.text("LANGUAGE_CODE", "zh-hans")
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "console.formats"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
# What people see until they choose their own zone.
DISPLAY_TIME_ZONE = env.text("DISPLAY_TIME_ZONE", "Asia/Shanghai")

# --- Security ------------------------------------------------------------------------------------------------

SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
BEHIND_PROXY = env.boolean("BEHIND_PROXY", False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

# --- Log -----------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"run": {"()": "console.logs.OfRun"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s%(about)s: %(message)s"},
        "json": {"()": "console.logs.JsonLines"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": env.choice("LOG_FORMAT", "line", ("line", "json")),
            "filters": ["run"],
        }
    },
    "root": {"handlers": ["console"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {
        "django.server": {"level": "WARNING"},
        # Celery says every message twice at INFO; the run's own timeline is the record.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
    },
}
