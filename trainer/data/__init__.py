"""Data sets: the sample that ships with the product, and reading a user's own.

`description` reads what a data set YAML says, `dataset` finds what is on disk, `labels` and `pictures` judge one file
each, `sample` composes the sample data set from the `scenes` that it draws. `contact_sheet` lays out pictures that
`boxed_picture` draws with their boxes and `lettering` with their text. Nothing here imports torch or
ultralytics, and nothing here ever writes to a user's data.
"""
