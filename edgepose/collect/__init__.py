"""From the broker to files on the lab computer: each pose once, gaps and all, joined by the hour.

`collector` listens, `journal` is safe at once, `archive` writes the files when an hour has settled.
"""
