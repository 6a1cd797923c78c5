"""The network itself: MobileNet trunk and slim head, recipes, and what a network costs on each board.

To add a recipe, add a row to `recipes.RECIPES`. To add a board, add a row to `target_boards.TARGETS`.
"""
