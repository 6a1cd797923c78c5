"""The commands of `edgepose-train`, one thin file each: `add_arguments(parser)` and `run(args) -> exit status`."""
