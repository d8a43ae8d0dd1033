"""Declares tools of the second database."""

from django.contrib.auth.models import Group

from mcp_transport import Context, tool
from tests.projects.constants import SEED


@tool
def sync_archive() -> int:
    """Count the seeds of both databases together."""
    return Group.objects.filter(name=SEED).count() + Group.objects.using("archive").filter(name=SEED).count()


@tool
async def async_archive(ctx: Context) -> int:
    """Count the seeds of both databases together, with a word to the client in between."""
    first = await Group.objects.filter(name=SEED).acount()
    await ctx.report_progress(0, 1)
    return first + await Group.objects.using("archive").filter(name=SEED).acount()
