"""From weights to the file that ships: int8 quantization, the Edge TPU's rules, speed, which layer loses accuracy.

To add an accelerator, add one file with its rules or its compiler, and call it from `commands/audit.py`.
"""
