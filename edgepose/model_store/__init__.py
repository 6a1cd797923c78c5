"""The device's models: versions side by side, verification, download, which one runs, and switching it while running.

`selection` keeps which model is to run, and is the only writer of that. `startup` opens this model when the daemon
begins, `switching` changes it while the daemon runs, and `hot_swap` exchanges it between two frames. `verification`
tries a model in a process of its own before it runs. To add a source of models, write a file like `download`.
"""
