"""What the site makes on the way: the tour's page from its script."""

from pathlib import Path
from typing import Any

import jupytext


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """tour.md holds the mark where the script goes."""
    if page.file.src_uri != "tour.md":
        return markdown
    script = Path(page.file.abs_src_path).with_suffix(".py").read_text(encoding="utf-8")
    notebook = jupytext.reads(script, fmt="py:percent")
    forms = {"markdown": "{}", "code": "```python\n{}\n```"}
    cells = (forms[cell.cell_type].format(cell.source) for cell in notebook.cells)
    return markdown.replace("<!-- tour.py -->", "\n\n".join(cells))
