"""Heat Orchestration Templates (HOT): parsing, parameters, environments, intrinsic functions, dependencies. Pure.

Source: OpenStack Heat template guide (HOT specification, versions 2013-05-23 to 2021-04-16) and environments guide.
"""
