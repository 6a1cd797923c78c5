"""This room writes `report.html`, which shows what a fit found, with pictures, and what to label next.

To add a section, compute its facts in a file of its own and write its HTML in `page.py`.
"""
