"""sa3-daw: audio generated into a DAW selection. Importing the package loads neither torch nor ZeroMQ."""

from sa3_daw.job import Job, TempoPoint

__all__ = ["Job", "TempoPoint", "__version__"]

__version__ = "0.1.0"
