"""The recorded cases of the original libraries, run on torchrnn."""
