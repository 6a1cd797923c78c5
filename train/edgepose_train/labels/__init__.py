"""Labels of any program: reading, writing, converting, merging, and finding wrong ones.

To add a format, write a reader `read_...(path) -> Dataset` in a file of its own and add it to `reading.read_dataset`.
"""
