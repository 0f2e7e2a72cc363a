"""How fast, how soon, how much memory, how it grows: one program for each question, and what they share.

Each question's program measures, checks what it measured on, and leaves its figures in results/<question>.json;
``report`` makes RESULTS.md and the plots of what is there. Times are never tested: on a machine that others use, too,
only ratios of what ran side by side mean something.
"""
