"""This room keeps poses until the broker has acknowledged them: outbox, spool in memory and on the disk, refused ones.

`delivery` is what the daemon uses. A pose goes `outbox` -> `link` -> broker; what waits longer goes through `spool`.
Every time and bound is in `timing`.

To keep messages of another kind safe, hand them to `outbox.accept` with their topic's leaf.
"""
