"""`python -m trainer serve` speaks the contract; the other verbs are small services for the tuner's commands."""

import argparse
import json
import sys
from pathlib import Path

from trainer.exceptions import TrainerError


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve", help="answer requests on standard input")
    verbs.add_parser("environment", help="what this machine trains with, as JSON")
    sample = verbs.add_parser("sample-data", help="compose the sample data set")
    sample.add_argument("directory", type=Path)
    sample.add_argument("--images", type=int, default=600, help="training pictures; a quarter as many to validate")
    check = verbs.add_parser("check-data", help="judge a data set, and leave a report")
    check.add_argument("data")
    check.add_argument("--report", type=Path, required=True, help="where to write the report")
    check.add_argument("--samples", action="store_true", help="with small pictures of the worst")
    check.add_argument("--fix", type=Path, help="a new folder for a cleaned data set")
    check.add_argument("--kept", action="store_true", help="an earlier check will do where no file has changed")
    verbs.add_parser("preview", help="draw augmented training pictures: one request on standard input, JSON out")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "serve":
            from trainer.commands.serve import serve

            return serve()
        if options.verb == "environment":
            from trainer.ultralytics_bridge.report import environment_report

            sys.stdout.write(json.dumps(environment_report()) + "\n")
        elif options.verb == "check-data":
            from trainer.commands import check_data

            check_data.run(options.data, options.report, samples=options.samples, fix=options.fix, kept=options.kept)
        elif options.verb == "preview":
            from trainer.commands.preview import answer

            sys.stdout.write(answer(sys.stdin.readline()) + "\n")
        else:
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
