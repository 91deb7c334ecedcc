# What a server runs before its program: sh boot PROGRAM ARGUMENT...
HERE=/run/firstboot
if [ -x /usr/bin/cloud-init ]; then
    exec /bin/sh $HERE/cloud_init "$@"
fi
exec /bin/sh $HERE/own "$@"
