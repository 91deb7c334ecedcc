"""The peer of `pop_start`: the same line in Mininet, run by the Python that Debian installs it for.

Prints one JSON line; not imported by anything.
"""

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

setLogLevel("critical")
count = int(sys.argv[1])
start = time.monotonic()
net = Mininet(switch=LinuxBridge, controller=None)
previous = None
for i in range(count):
    switch = net.addSwitch(f"s{i + 1}")
    for j in range(2):
        net.addLink(net.addHost(f"h{2 * i + j + 1}"), switch)
    if previous:
        net.addLink(previous, switch)
    previous = switch
net.start()
up = time.monotonic()
net.stop()
print(json.dumps({"up_s": round(up - start, 3), "down_s": round(time.monotonic() - up, 3)}))
