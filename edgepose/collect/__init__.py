"""The other end: writes what devices publish to files. `collector` listens, `archive` keeps what comes in its `journal`
until it has written it by the hour, and `streams` knows what has come."""
