#!/bin/sh
# Runs before the server of shop; does nothing unless one of these variables is set:
#
#   MCP_WAIT_FOR="redis:6379 db:5432"   wait until each of them accepts connections
#   MCP_WAIT_SECONDS=30                 ... fail after this many seconds
#   MCP_MIGRATE=1                       apply migrations; if several nodes start at once, set it for one process only
set -eu

if [ -n "${MCP_WAIT_FOR:-}" ]; then
    python -c '
import os, socket, sys, time

value = os.environ.get("MCP_WAIT_SECONDS") or "30"
try:
    seconds = float(value)
except ValueError:
    seconds = -1.0
if not 0 <= seconds <= 86400:
    sys.exit(f"MCP_WAIT_SECONDS: expected seconds from 0 to 86400, got {value}")
addresses = os.environ["MCP_WAIT_FOR"].replace(",", " ").split()
for address in addresses:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        sys.exit(f"MCP_WAIT_FOR: expected space-separated host:port, got {address}")
deadline = time.monotonic() + seconds
for address in addresses:
    host, _, port = address.rpartition(":")
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
            break
        except (OSError, UnicodeError) as error:
            if time.monotonic() >= deadline:
                sys.exit(f"MCP_WAIT_FOR: {address} accepts no connections: {error}")
            time.sleep(0.2)
'
fi

if [ "${MCP_MIGRATE:-0}" = 1 ]; then
    python manage.py migrate --noinput
fi

# exec, so that SIGTERM reaches the server itself, which drains.
exec "$@"
