"""Labels of any program: reading, writing, converting, merging, and finding wrong ones.

To add a format, write a reader `read_...(path) -> Dataset` and let `datasets.read_dataset` recognise it.
"""
