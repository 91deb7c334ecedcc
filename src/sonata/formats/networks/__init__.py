"""Networks that others have drawn: Topology Zoo and other GraphML, SNDlib (XML and native), node-link JSON (TopoHub).

Each reader gives a `Network`, in the terms of its file; `importing` makes a topology of ours from it.
"""

from sonata.formats.networks.importing import Imported, ImportOptions, import_topology, read_network_file

__all__ = ["ImportOptions", "Imported", "import_topology", "read_network_file"]
