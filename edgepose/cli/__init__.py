"""The commands, one thin file each: `add_arguments(parser)` and `run(args) -> exit status`. `main` has the table."""
