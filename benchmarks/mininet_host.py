"""The peer of `first_packet`: hosts added to a running Mininet, by the Python that Debian installs it for.

Takes how many, and the program that listens. Prints the milliseconds of each host as
one JSON line; not imported by anything.
"""

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

setLogLevel("critical")
net = Mininet(switch=LinuxBridge, controller=None)
switch = net.addSwitch("s1")
listener = net.addHost("h0", ip="10.0.0.1/16")
net.addLink(listener, switch)
net.start()
delays = []
try:
    process = listener.popen(["/usr/bin/python3", "-u", "-c", sys.argv[2]])
    process.stdout.readline()
    for number in range(int(sys.argv[1])):
        address = f"10.0.{1 + number // 200}.{1 + number % 200}/16"
        began = time.monotonic()
        host = net.addHost(f"h{number + 1}", ip=address)
        link = net.addLink(host, switch)
        switch.cmd("ip", "link", "set", link.intf2.name, "up", "master", switch.name)
        host.configDefault()
        host.popen(["/bin/bash", "-c", "echo up >/dev/udp/10.0.0.1/5000; exec sleep 10000"])
        delays.append((float(process.stdout.readline()) - began) * 1e3)
finally:
    net.stop()
print(json.dumps(delays))
