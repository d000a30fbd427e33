"""How fast the selective scan and the models are, against others; README.md says how to run it."""
