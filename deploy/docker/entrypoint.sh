#!/bin/sh
# What happens before the server of shop runs; nothing, unless one of these is set:
#
#   MCP_WAIT_FOR="redis:6379 db:5432"   wait until each of them takes connections
#   MCP_WAIT_SECONDS=30                 ... for so long at most, then fail
#   MCP_MIGRATE=1                       apply migrations; where several nodes start at once, let one process do it
set -eu

if [ -n "${MCP_WAIT_FOR:-}" ]; then
    python -c '
import os, socket, sys, time

given = os.environ.get("MCP_WAIT_SECONDS") or "30"
try:
    seconds = float(given)
except ValueError:
    seconds = -1.0
if not 0 <= seconds <= 86400:
    sys.exit(f"MCP_WAIT_SECONDS: expected seconds from 0 to 86400, got {given}")
places = os.environ["MCP_WAIT_FOR"].replace(",", " ").split()
for place in places:
    host, _, port = place.rpartition(":")
    if not (host and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        sys.exit(f"MCP_WAIT_FOR: expected host:port with spaces between, got {place}")
end = time.monotonic() + seconds
for place in places:
    host, _, port = place.rpartition(":")
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
            break
        except (OSError, UnicodeError) as error:
            if time.monotonic() >= end:
                sys.exit(f"MCP_WAIT_FOR: {place} takes no connections: {error}")
            time.sleep(0.2)
'
fi

if [ "${MCP_MIGRATE:-0}" = 1 ]; then
    python manage.py migrate --noinput
fi

# In place of the shell: SIGTERM reaches the server itself, which drains.
exec "$@"
