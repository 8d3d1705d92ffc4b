"""plmc: compress pre-trained language models with published methods that compose."""

__version__ = "0.1.0"
