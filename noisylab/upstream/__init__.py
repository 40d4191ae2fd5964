"""Private names of other libraries that noisylab cannot do without, one file per library.

A library may rename or drop a private name in any release. So each of them is used here and nowhere else, in a small function
that states which name it is, why there is no public way, since when it is used, and what breaks without it. Each has a test in
``tests/upstream``, which says on an upgrade what has changed and where to look.
"""
