"""The device's models: versions side by side, verification, download, which one runs, and switching it while running.

`selection` is the only writer of which model is to run. `startup` opens that model when the daemon begins, `switching`
changes it, `hot_swap` exchanges it between two frames.
"""
