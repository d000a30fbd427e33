"""Data sets in COCO JSON, converted to the layout that training reads.

`layout` finds the JSON files of a data set and their image folders; `coco_yaml` reads them from a YAML. `reading`
parses one file with the parser of `json_items`, and `other_formats` names the format of any other JSON. `classes`
numbers the categories of all files, `images` finds the images, and `boxes` turns pixels into label rows. `conversion`
writes a folder of links to the images, with label files.
"""
