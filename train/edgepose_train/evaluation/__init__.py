"""How good the file that ships is: px error on unseen frames, and what a score is worth."""
