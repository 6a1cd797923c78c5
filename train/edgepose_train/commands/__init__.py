"""One file per command of `edgepose-train`: `add_arguments(parser)` and `run(args) -> exit status`."""
