"""The peer of `pop_start` and `emulations`: lines and rings in Mininet, run by the Python that Debian installs it for.

Prints one JSON line; not imported by anything.
"""

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

PATIENCE_S = 120.0
setLogLevel("critical")
count, is_ring = int(sys.argv[1]), sys.argv[2:] == ["ring"]
hosts = 1 if is_ring else 2
start = time.monotonic()
net = Mininet(switch=LinuxBridge, controller=None)
previous = None
for i in range(count):
    switch = net.addSwitch(f"s{i + 1}", stp=is_ring, prio=i)
    for j in range(hosts):
        net.addLink(net.addHost(f"h{hosts * i + j + 1}"), switch)
    if previous:
        net.addLink(previous, switch)
    previous = switch
if is_ring:
    net.addLink(previous, net["s1"])
net.start()
up = time.monotonic()
far = net.hosts[hosts * min(count // 2, 60)]
usable = None
while usable is None and time.monotonic() - up < PATIENCE_S:
    if " 0% packet loss" in net.hosts[0].cmd(f"ping -c1 -W1 {far.IP()}"):
        usable = round(time.monotonic() - start, 3)
closing = time.monotonic()
net.stop()
down = round(time.monotonic() - closing, 3)
print(json.dumps({"up_s": round(up - start, 3), "usable_s": usable, "down_s": down}))
