"""The peer of `mininet_topologies`: the same shapes in Mininet, run by the Python that Debian installs it for.

Prints one JSON line; not imported by anything.
"""

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import LinearTopo, SingleSwitchTopo
from mininet.topolib import TreeTopo

setLogLevel("critical")
shape, sizes, check = sys.argv[1], [int(size) for size in sys.argv[2].split(",")], sys.argv[3]
topologies = {"single": SingleSwitchTopo, "linear": LinearTopo, "tree": TreeTopo}
start = time.monotonic()
net = Mininet(topo=topologies[shape](*sizes), switch=LinuxBridge, controller=None)
net.start()
built = time.monotonic()
first, *others = net.hosts
said = first.cmd("sh", "-c", f"'{check}'", "check", *[host.IP() for host in others])
usable = time.monotonic()
net.stop()
figures = {"built_s": built - start, "usable_s": usable - start, "down_s": time.monotonic() - usable}
rounded = {key: round(value, 3) for key, value in figures.items()}
print(json.dumps({"machines": len(net.hosts), "reached": said.count("reached"), **rounded}))
