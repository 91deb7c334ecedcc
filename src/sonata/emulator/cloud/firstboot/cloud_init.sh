# The first boot by the image's own cloud-init: its stages, as its units have them run, before the server's program.
# Called as: sh cloud_init PROGRAM ARGUMENT...
HERE=/run/firstboot
SEED=/var/lib/cloud/seed/config_drive
NOW=/run/cloud-init
# A container has no firmware to ask: cloud-init takes this in the environment of the first process for OpenStack.
if [ -z "$product_name" ]; then
    product_name="OpenStack Nova" exec /bin/sh $HERE/cloud_init "$@"
fi
# Each boot decides anew where its data come from, as `ds-identify` does where systemd boots.
rm -rf $NOW $SEED
mkdir -p $NOW /var/lib/cloud/seed
for drive in /config-2 $HERE/seed; do
    [ -d $drive/openstack ] && [ ! -d $SEED ] && cp -r $drive $SEED
done
{
    cloud-init init --local
    cloud-init init
    cloud-init modules --mode=config
} < /dev/null 2>&1
cloud-init modules --mode=final < /dev/null 2>&1 &

# The first process stays as it is, since cloud-init goes on reading its environment; sshd, for one, writes over its own.
"$@" &
program=$!
trap 'kill -TERM $program' TERM
while :; do
    wait $program
    status=$?
    kill -0 $program 2> /dev/null || exit $status
done
