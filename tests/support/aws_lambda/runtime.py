"""A sandbox's process: imports a handler, then answers an event of each line of its input, as Lambda's runtime does.

python -m tests.support.aws_lambda.runtime
"""

from __future__ import annotations

import json
import os
import sys
import time

from tests.support.aws_lambda.context import Context


def main() -> None:
    """Print a line when the handler is made, then one for each event."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # what the project prints is no answer
        began = time.perf_counter()
        from mcp_transport.adapters.aws_lambda import lambda_handler

        handler = lambda_handler()
        print(json.dumps(time.perf_counter() - began), file=answers)
        for line in sys.stdin:
            event, seconds = json.loads(line)
            print(json.dumps(handler(event, Context(seconds))), file=answers)


if __name__ == "__main__":
    main()
