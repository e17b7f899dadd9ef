"""Text to `Program`: the notation is Python syntax, read with `ast` through a whitelist of nodes.

`source` splits the text into lines, `letters` decides which indices share an extent, `reader` turns expressions
into terms; `parse` below runs the three and checks what only the whole program can tell.
"""

from derive.notation.parse import parse

__all__ = ["parse"]
