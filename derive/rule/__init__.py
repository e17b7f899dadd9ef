"""Rules written out: as runnable NumPy, as text in the notation, as matrix algebra, as LaTeX."""
