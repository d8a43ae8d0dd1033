"""Make the database, a user and a session of hers; print the session's key.

python -m tests.support.site.prepare
"""

from __future__ import annotations

import os
import sys

import django


def main() -> None:
    """Prepare the database that SITE_DATABASE names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.site.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    sys.stdout.write(log_in("ann"))


def log_in(name: str) -> str:
    """Create a user and a logged-in session; return the session's key."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    user = get_user_model().objects.create_user(name)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


if __name__ == "__main__":
    main()
