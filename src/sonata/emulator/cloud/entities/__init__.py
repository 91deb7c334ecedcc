"""What one emulated cloud holds: frozen values in the words of the OpenStack API references.

An entity changes by being replaced in its table (`tables.Table.change`), never in place, so that whoever holds one sees
a consistent state.
"""
