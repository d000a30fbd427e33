"""Speed of the selective scan and the models, compared with others; see README.md to run the benchmarks."""
