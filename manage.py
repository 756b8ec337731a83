#!/usr/bin/env python
"""Django's command line. Without DATABASE_URL / REDIS_URL it works on the embedded services under var/."""

import os
import sys

# Commands that never touch a service: they must not start one.
OFFLINE = {"makemessages", "compilemessages", "collectstatic", "findstatic", "help", "startapp"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command not in OFFLINE:
        from console import embedded

        # `up` runs a Redis-protocol server of its own.
        embedded.ensure_services(redis=command != "up")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
