"""Attack servers that are started for it, and tell what it cost everybody else; exit code 1 when that is too much.

The pauses of /healthz and the neighbour's pings are measured by a process beside the attack. A pause is the server's
own: what the machine had no processor for is taken off.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable

from tests.attack import attacks  # noqa: F401 (they enter themselves into the table)
from tests.attack.attack import ATTACKS
from tests.attack.generated import run as generated
from tests.attack.measuring import HEAD, line, run_all, summary
from tests.attack.stage import BACKENDS, SERVERS


def main() -> int:
    """Read the command line, attack, print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    options = _parse()
    if options.list:
        for attack in ATTACKS.values():
            print(f"{attack.name:34} {attack.what.splitlines()[0]}")
        return 0
    if options.generated:
        return generated.main(options.generated, options.seed, options.servers[-1], options.backends[0])
    chosen = [ATTACKS[name] for name in options.only if ATTACKS[name].short or not options.short]
    print(HEAD, flush=True)
    found = []
    for measured in run_all(chosen, options.servers, options.backends):
        found.append(measured)
        print(line(measured), flush=True)
    print(summary(found))
    return int(any(measured.outside for measured in found) or not found)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--only", type=_names(ATTACKS), default=[*ATTACKS], help="attacks, with commas between")
    parser.add_argument("--servers", type=_names(SERVERS), default=[*SERVERS], help="names, with commas between")
    parser.add_argument("--backends", type=_names(BACKENDS), default=[*BACKENDS], help="memory, redis")
    parser.add_argument("--short", action="store_true", help="the attacks of the short form")
    parser.add_argument("--list", action="store_true", help="list the attacks")
    parser.add_argument("--generated", type=int, metavar="N", help="send so many generated requests instead")
    parser.add_argument("--seed", type=int, default=1, help="what they are generated from")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"no such: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return names

    return split


if __name__ == "__main__":
    sys.exit(main())
