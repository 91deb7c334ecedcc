#!/busybox sh
# First process of a virtual machine, in its initial RAM file system: it loads modules, mounts the machine's root file
# system, which the host shares, and becomes the agent.
bb=/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
while read -r module; do $bb insmod "/modules/$module"; done < /modules/order
$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=mmap,access=any root /machine
cd /machine || $bb poweroff -f
for folder in proc sys dev tmp run; do
    if [ ! -d "$folder" ]; then $bb mkdir -p "$folder"; fi
done
$bb mount -t proc proc proc
$bb mount -t sysfs sysfs sys
$bb mount -t devtmpfs devtmpfs dev
$bb mkdir -p dev/pts dev/shm
$bb mount -t devpts -o ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
$bb mount -o bind /dev/pts dev/pts
$bb ln -sf /proc/self/fd dev/fd
$bb mount -t tmpfs -o mode=1777 shm dev/shm
cd /
exec /usr/bin/python3 -I -S /agent/guest_agent.py < /dev/null
