"""Sound and films: decoding, spectrograms and frames, and a cache of what was decoded. Needs the extra `noisylab[media]`."""
