"""This room reads, writes, converts and merges labels of any program, and finds wrong ones.

To add a format, write a reader `read_...(path) -> Dataset` in a file of its own and add it to `reading.read_dataset`.
"""
