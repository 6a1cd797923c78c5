"""The daemon: camera, model and delivery joined to one program that runs for months.

`assembly` makes and closes the parts, `pipeline` is the loop, `dispatcher` carries out commands, `health` gathers what
`/health` says. Belongs here: what needs several rooms at once while the daemon runs.
"""
