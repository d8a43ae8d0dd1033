"""What a test may do to a token, so that nobody has to wait for its end."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from oauth2_provider.models import get_access_token_model  # type: ignore[import-untyped]


@csrf_exempt
@require_POST
def expire(request: HttpRequest) -> HttpResponse:
    """Let an access token have expired a second ago; tokens are known by their hashes."""
    checksum = hashlib.sha256(request.POST["token"].encode()).hexdigest()
    tokens = get_access_token_model().objects.filter(token_checksum=checksum)
    return HttpResponse(status=204 if tokens.update(expires=now() - timedelta(seconds=1)) else 404)
