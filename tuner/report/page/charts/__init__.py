"""Draw records as Vega-Lite charts; one function per chart, which reads nothing else."""
