"""This room builds the network (MobileNet trunk and slim head), and knows recipes and the costs on each board.

To add a recipe, add a row to `recipes.RECIPES`. To add a board, add a row to `target_boards.TARGET_BOARDS` and its
name to the choices of `fit --target`. What is measured in a finished file belongs in `export/`.
"""
