"""Data sets: the bundled sample, and reading a user's own data.

`opening` opens a data set in any form. `dataset_yaml` parses a data set YAML and `dataset` finds its files on disk.
`coco` converts COCO JSON. `checking.labels` and `checking.images` check one file each. `sample.sample` composes the
sample data set from the images that `sample.scenes` draws.
`drawing.contact_sheet` lays out images that `drawing.boxes` draws with their boxes and `drawing.text` with their text.
Nothing here imports torch or ultralytics, and nothing here ever writes to a user's data.
"""
