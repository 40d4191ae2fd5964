"""Data sets packed into shards: written by `noisylab data pack`, read row by row, on a disk or in an object store."""
