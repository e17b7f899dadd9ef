"""The derivation, published: LaTeX, Markdown, HTML and PDF in English and Chinese, from the recorded steps only.

    export.write(export.document(op), Path("softmax.html"), lang="en")
"""

from derive.export.document import Document, Measured, document
from derive.export.terminal import steps_text
from derive.export.write import FORMATS, LANGUAGES, rendered, write

__all__ = ["FORMATS", "LANGUAGES", "Document", "Measured", "document", "rendered", "steps_text", "write"]
