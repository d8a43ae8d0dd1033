"""The databases of the projects, as their settings read them from the environment."""

from __future__ import annotations

import json
import os
from typing import Any


def postgres(alias: str = "default", **settings: Any) -> dict[str, Any]:
    """Return one entry of DATABASES; SITE_DATABASE_OPTIONS, as JSON, adds to all of them."""
    name = os.environ["SITE_DATABASE"] + ("" if alias == "default" else f"_{alias}")
    varied = json.loads(os.environ.get("SITE_DATABASE_OPTIONS", "{}"))
    options = {"application_name": name, **settings.pop("OPTIONS", {}), **varied.pop("OPTIONS", {})}
    if options.get("pool") is None:
        options.pop("pool", None)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ["SITE_POSTGRES_PORT"],
        "USER": "postgres",
        "NAME": name,
        **settings,
        **varied,
        "OPTIONS": options,
    }
