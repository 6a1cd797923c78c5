"""From weights to the file that ships: int8 quantization, the Edge TPU's rules, which layer loses accuracy."""
