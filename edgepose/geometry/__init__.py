"""This room computes where things are in the picture and in the world, from arrays alone, without files and clocks.

`coordinates` states the rule for pixels and cells once; every other file calls it. Belongs here: letterbox and crops,
pixel formats, lens, ground, masks, zones and calibration boards. To add a mapping, write it with its inverse and test
the pair with one property test.
"""
