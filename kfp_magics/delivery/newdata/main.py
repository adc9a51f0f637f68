"""What Cloud Functions calls; everything is in the folder ``newdata``. Generated: a change here is lost."""

from newdata.function import on_finalized

__all__ = ["on_finalized"]
