"""This room holds the commands of `edgepose`, one thin file each: it parses, calls a room, and prints.

To add a command, write a file with `add_arguments(parser)` and `run(args) -> exit status`, and add it to the table in
`main`.
"""
