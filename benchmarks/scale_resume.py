"""Open a study and the search in it, and propose the next configuration: `benchmarks.scale` measures this process."""

import sys
from pathlib import Path

from tests.support.synthetic_study import SPACE
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.storage.lease import study_lease
from tuner.study import StudyPaths, driven_study
from tuner.trials.requests import TrialTerms


def resume(home: Path, name: str, url: str) -> None:
    """Do what `tune run` does before the first trial of a resumed search, without starting Ray."""
    paths = StudyPaths.of(home, name)
    terms = TrialTerms(threads=1, gpus_per_trial=0, validate_every_epoch=False)
    with study_lease(url, name) as lease, driven_study(lease, None, paths.journal) as study:
        space = parse_space(SPACE, name="full", file="full.yaml").with_settings(trials=len(study.trials()) + 1)
        search = Search(study, space, paths, terms)
        assert search.suggest() is not None


if __name__ == "__main__":
    resume(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
