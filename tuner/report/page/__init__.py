"""Show the results of studies on one HTML page that needs no network.

Records (`records`) hold the numbers, charts (`charts`) draw them, sections arrange them, and `page` renders a `Page`
without knowing what a study is.
"""
