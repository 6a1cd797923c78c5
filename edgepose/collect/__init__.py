"""From the broker to files on the lab computer: each pose once, and what is missing, in one file per device and hour.

`collector` receives messages, `journal` keeps them on the disk at once, and `archive` writes the files when an hour has
settled.

To add a kind of file, write it like `deeplabcut`, from the table of one hour, and offer it in `cli/collect.py`.
"""
