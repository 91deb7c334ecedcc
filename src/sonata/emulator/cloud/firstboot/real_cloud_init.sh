# What a server whose image has cloud-init runs before its program; the plan beside it defines INSTANCE.
HERE=/run/firstboot
mkdir -p /var/lib/cloud/seed/nocloud
cp $HERE/seed/* /var/lib/cloud/seed/nocloud/
{
    cloud-init init --local
    cloud-init init
    cloud-init modules --mode=config
} < /dev/null 2>&1
cloud-init modules --mode=final < /dev/null 2>&1 &
exec "$@"
