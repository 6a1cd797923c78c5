"""This room writes tables of poses for other programs: our layout as Parquet and CSV, DeepLabCut's as CSV and H5.

`layout` says what our tables look like; whoever writes or reads one asks it for names, types and order. The layout has
a version, which is in each Parquet file. To add a column, add it to `TYPES` there and fill it where it is known. To add
a format, add its ending and its writer in `pose_table`.
"""
