"""Set up the missing environments of the peers that cannot share ours, below `build/peers`."""

import argparse
import sys

from benchmarks.decisions.environments import is_ready, names, set_up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(names())} (default: all)", metavar="NAME")
    chosen = parser.parse_args().names or names()
    if unknown := set(chosen) - set(names()):
        parser.error(f"there is no environment {', '.join(sorted(unknown))}, only {', '.join(names())}")
    for name in chosen:
        if not is_ready(name):
            sys.stdout.write(f"{name} ...\n")
            sys.stdout.flush()
            set_up(name)
        sys.stdout.write(f"{name} is ready\n")


if __name__ == "__main__":
    main()
