"""Rebuild and fine-tune the models (installed as ``sa3_training``). Knows no daemon and no protocol."""
