"""The device's models: `store` keeps versions, `verify` looks at one in a process of its own, `choice` remembers which
one is to run, `switch` changes it while the daemon runs, `download` fetches one.
"""
