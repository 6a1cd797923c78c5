"""This room writes what devices publish to files of a lab computer: each pose once, and what is missing.

`collector` receives messages, `journal` keeps them on the disk at once, and `archive` writes the files when an hour has
settled.

To add a kind of file, add its ending to `other_formats`, which makes it of the table of one hour. To change a column,
see the room `tables`; keep what reads earlier files, such as `first_layout`.
"""
