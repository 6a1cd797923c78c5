"""This room manages the device's models: versions side by side, verification, download, and which one runs.

`selection` keeps which model is to run, and is the only writer of that. `startup` opens this model when the daemon
begins, `switching` changes it while the daemon runs, and `hot_swap` exchanges it between two frames. `verification`
tries a model in a process of its own before it runs. To add a source of models, write a file like `download`.
"""
