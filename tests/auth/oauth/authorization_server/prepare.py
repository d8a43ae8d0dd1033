"""Make the database of the authorization server: its users, and the clients that do not register themselves.

python -m tests.auth.oauth.authorization_server.prepare
"""

from __future__ import annotations

import os

import django

from tests.auth.oauth.accounts import PASSWORDS, RESOURCE_SERVER, ROBOT, Account


def main() -> None:
    """Prepare the database that AUTHORIZATION_DATABASE names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.auth.oauth.authorization_server.settings")
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    for name, password in PASSWORDS.items():
        get_user_model().objects.create_user(name, password=password)
    for account in RESOURCE_SERVER, ROBOT:
        _register(account)


def _register(account: Account) -> None:
    from oauth2_provider.models import get_application_model  # type: ignore[import-untyped]

    kind = get_application_model()
    application = kind(
        name=account.client_id,
        client_id=account.client_id,
        client_secret=account.client_secret,  # hashed when it is saved
        client_type=kind.CLIENT_CONFIDENTIAL,
        authorization_grant_type=kind.GRANT_CLIENT_CREDENTIALS,
    )
    application.full_clean()
    application.save()


if __name__ == "__main__":
    main()
