"""The other end: writes what devices publish to files. `streams` knows what has come, `journal` keeps it until `hours`
has written it, `collector` listens."""
