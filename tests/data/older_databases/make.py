"""Write a study with the Optuna that is installed: `python make.py FOLDER` makes FOLDER/optuna-VERSION.db and .json.

For the databases next to this file, each in its own environment, with TZ=UTC:

    pip install 'optuna==2.10.1' 'sqlalchemy<2' 'numpy<2'
    pip install 'optuna==3.1.1' 'sqlalchemy<2' 'numpy<2'
    pip install 'optuna==4.2.1'
"""

import json
import sys
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler


def main() -> None:
    file = Path(sys.argv[1]) / f"optuna-{optuna.__version__}.db"
    study = optuna.create_study(
        storage=f"sqlite:///{file}", study_name="old", direction="maximize", sampler=RandomSampler(seed=0)
    )
    study.set_user_attr("note", "written by an older Optuna")
    for number in range(6):
        trial = study.ask()
        trial.suggest_float("lr0", 1e-4, 1.0, log=True)
        trial.suggest_int("warmup", 0, 5)
        trial.suggest_categorical("optimizer", ["SGD", "AdamW"])
        trial.set_user_attr("device", "CPU")
        trial.report(number / 10, step=3)
        if number == 2:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif number == 3:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif number != 5:  # 5 is left RUNNING, as a dead driver leaves it
            trial.report(number / 5, step=9)
            study.tell(trial, number / 5)
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value if trial.state.name == "COMPLETE" else None,
            "params": trial.params,
            "curve": {str(step): value for step, value in trial.intermediate_values.items()},
            "attributes": trial.user_attrs,
        }
        for trial in study.get_trials()
    ]
    file.with_suffix(".json").write_text(json.dumps(trials, indent=1) + "\n")


if __name__ == "__main__":
    main()
