"""Where things are in the picture and in the world. Pure: arrays in, arrays out, no file and no clock.

`coordinates` states the rule for pixels and cells once; every other file calls it. Belongs here: letterbox and crops,
pixel formats, lens, ground, masks, zones and calibration boards. To add a mapping, write it with its inverse and test
the pair with one property test.
"""
