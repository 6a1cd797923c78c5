"""This room makes the file that ships, and examines it: quantization, Edge TPU, speed, which layer loses accuracy.

To add an accelerator, add one file with its rules or its compiler, and call it from `commands/audit.py`.
"""
