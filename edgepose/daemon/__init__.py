"""This room joins camera, model and delivery to one program that runs for months, the daemon.

`assembly` opens and closes the parts, `pipeline` is the loop, `dispatcher` takes commands, `health` gathers numbers.
What needs several rooms at once belongs here, also the checks, snapshots and benchmarks that use the same parts.

To add a command, add its struct to `protocol/commands.py`, an example to `protocol/examples.py`, and a method
to `command_handlers`.
"""
