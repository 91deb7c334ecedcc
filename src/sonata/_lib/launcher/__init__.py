"""A small OCI engine of our own, for hosts without crun and runc: the standard library and libseccomp, nothing else.

It is a program, called as they are, and keeps nothing in memory between two calls.
"""
