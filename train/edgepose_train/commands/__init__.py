"""The commands of `edgepose-train`, one thin file each: `add_arguments(parser)` and `run(args) -> exit status`.

To add a command, write such a file and add a line to the table in `cli`.
"""
