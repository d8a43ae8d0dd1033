"""A sandbox's process: imports a handler, then answers an event of each line, as Lambda's runtime does.

python -m tests.support.aws_lambda.runtime EVENTS ANSWERS

These are the numbers of the files that it reads and writes.
"""

from __future__ import annotations

import json
import os
import sys
import time

from tests.support.aws_lambda.context import Context


def main() -> None:
    """Write a line when the handler is made, then one for each event."""
    events, answers = (os.fdopen(int(number), mode) for number, mode in zip(sys.argv[1:], "rw", strict=True))
    began = time.perf_counter()
    from mcp_transport.adapters.aws_lambda import lambda_handler

    handler = lambda_handler()
    print(json.dumps(time.perf_counter() - began), file=answers, flush=True)
    for line in events:
        event, seconds = json.loads(line)
        print(json.dumps(handler(event, Context(seconds))), file=answers, flush=True)


if __name__ == "__main__":
    main()
