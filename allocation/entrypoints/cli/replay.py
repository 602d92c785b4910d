"""`allocation replay`: handle what is in the logs again, pass over it, or publish events again.

Whatever is done here, what the database holds is not done twice: its position decides, not the group's offsets.
"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Read logs again, pass over a part of one, publish events again.")
