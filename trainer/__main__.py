"""Answer requests of the contract (`python -m trainer serve`), or compose the sample data set."""

import argparse
import sys
from pathlib import Path

from trainer.exceptions import TrainerError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return the exit code: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve", help="answer requests on standard input")
    sample = verbs.add_parser("sample-data", help="compose the sample data set")
    sample.add_argument("directory", type=Path)
    sample.add_argument(
        "--images", type=int, default=600, help="number of training images; a quarter as many are added for validation"
    )
    options = parser.parse_args(arguments)
    try:
        if options.verb == "serve":
            from trainer.commands.serve import serve

            return serve()
        from trainer.data.sample.sample import compose

        val = max(1, options.images // 4)
        sys.stdout.write(f"{compose(options.directory, train_images=options.images, val_images=val)}\n")
    except TrainerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
