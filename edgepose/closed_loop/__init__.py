"""This room turns poses into actions: rules, GPIO pins, and the user's own code.

To add a condition to rules, add its struct to `config/closed_loop.py` and its check to `rules`.
"""
