#!/bin/sh
# Tells how far the first boot is, as `cloud-init status` does: sh /run/firstboot/status [--wait]
# Exit status 0 when it is done or goes on, 1 when something of it has failed.
NOW=/run/cloud-init
[ -x /usr/bin/cloud-init ] && exec cloud-init status "$@"
if [ "$1" = --wait ]; then
    until [ -e $NOW/result.json ]; do sleep 0.2; done
fi
[ -e $NOW/result.json ] || { echo "status: running"; exit 0; }
[ -e $NOW/errors ] || { echo "status: done"; exit 0; }
echo "status: error"
sed 's/^/failed: /' $NOW/errors
exit 1
