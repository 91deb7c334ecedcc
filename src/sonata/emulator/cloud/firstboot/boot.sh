# What a server runs before its program: user data, step by step, each instance's first boot once.
# Called as: sh boot PROGRAM ARGUMENT... The plan beside it defines INSTANCE and the functions early_always, early,
# final_always, final, warnings.
umask 022
HERE=/run/firstboot
CLOUD=/var/lib/cloud
NOW=/run/cloud-init
LOG=/var/log/cloud-init-output.log
DEFAULT_USER=cloud-user
[ -r /etc/os-release ] && DEFAULT_USER=$(. /etc/os-release && echo "${ID:-cloud-user}")

say() { echo "cloud-init: $*"; }

step() { # name, commands
    eval "$2" || { say "$1 failed"; echo "$1" >> $NOW/errors; }
}

put() { # content, path, owner, permissions, append|replace
    mkdir -p "$(dirname "$2")" || return 1
    if [ "$5" = append ]; then cat "$1" >> "$2"; else cat "$1" > "$2"; fi && chown "$3" "$2" && chmod "$4" "$2"
}

run_script() { # name below the instance, content
    mkdir -p "$(dirname "$CLOUD/instance/$1")" && cp "$2" "$CLOUD/instance/$1" && chmod 700 "$CLOUD/instance/$1" &&
        INSTANCE_ID=$INSTANCE "$CLOUD/instance/$1"
}

home_of() { awk -F: -v user="$1" '$1 == user { print $6 }' /etc/passwd; }

authorize() { # user, file with keys
    home=$(home_of "$1")
    [ -n "$home" ] || return 1
    mkdir -p "$home/.ssh" && touch "$home/.ssh/authorized_keys" || return 1
    while read -r key; do
        grep -qxF -- "$key" "$home/.ssh/authorized_keys" || echo "$key" >> "$home/.ssh/authorized_keys"
    done < "$2"
    chmod 700 "$home/.ssh" && chmod 600 "$home/.ssh/authorized_keys" && chown -R "$1" "$home/.ssh"
}

group() {
    grep -q "^$1:" /etc/group || { command -v groupadd > /dev/null && groupadd "$1"; } || addgroup "$1"
}

user() { # name, options of useradd
    name=$1
    shift
    if grep -q "^$name:" /etc/passwd; then
        say "user $name exists"
    elif command -v useradd > /dev/null; then
        useradd "$@" "$name"
    else
        adduser -D "$name"
    fi
}

default_user() { user "$DEFAULT_USER" --create-home --shell /bin/sh; }

expire() { passwd --expire "$1" > /dev/null || chage -d 0 "$1"; }

sudo_rule() {
    mkdir -p /etc/sudoers.d && echo "$1" >> /etc/sudoers.d/90-cloud-init-users &&
        chmod 440 /etc/sudoers.d/90-cloud-init-users
}

sshd_setting() { # keyword, value
    mkdir -p /etc/ssh && touch /etc/ssh/sshd_config && sed -i "/^[# ]*$1 /d" /etc/ssh/sshd_config &&
        echo "$1 $2" >> /etc/ssh/sshd_config
}

host_keys() { # only where an ssh server is
    [ -x /usr/sbin/sshd ] || return 0
    mkdir -p /etc/ssh /run/sshd && touch /etc/ssh/sshd_config && ssh-keygen -A > /dev/null
}

packages() { # update|upgrade|install, names
    what=$1
    shift
    if command -v apt-get > /dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        # Without a mirror apt tells success after its warnings.
        if ! apt-get update -q -o Acquire::Retries=0 -o Acquire::http::Timeout=5 -o APT::Update::Error-Mode=any; then
            say "packages: apt reaches no mirror from here; nothing was ${what}d"
            return 1
        fi
        [ "$what" = update ] || apt-get "$what" -q -y --no-install-recommends "$@"
    elif command -v apk > /dev/null; then
        case $what in update) apk update ;; upgrade) apk upgrade ;; install) apk add "$@" ;; esac
    else
        say "packages: this image has neither apt nor apk; nothing was ${what}d"
        return 1
    fi
}

finish() {
    list=
    [ -e $NOW/errors ] && while read -r name; do list="$list${list:+, }\"$name\""; done < $NOW/errors
    source=DataSourceOpenStack
    [ -d /config-2/openstack ] && source=DataSourceConfigDrive
    echo "{\"v1\": {\"datasource\": \"$source\", \"errors\": [$list]}}" > $NOW/result.json
    echo "{\"v1\": {\"datasource\": \"$source\", \"stage\": null, \"finished\": $(date +%s)}}" > $NOW/status.json
    date > $CLOUD/instance/boot-finished
}

rm -rf $NOW
mkdir -p $NOW $CLOUD/data "$CLOUD/instances/$INSTANCE/sem" /var/log
ln -sfn "$CLOUD/instances/$INSTANCE" $CLOUD/instance
echo "$INSTANCE" > $CLOUD/data/instance-id
echo '{"v1": {"datasource": null, "stage": "init"}}' > $NOW/status.json

once() { # stage: whether this instance has not gone through it
    [ ! -e "$CLOUD/instance/sem/$1" ] && : > "$CLOUD/instance/sem/$1"
}

{
    warnings
    early_always
    once early && early
} < /dev/null 2>&1 | tee -a $LOG
{
    once final && final
    final_always
    finish
} < /dev/null 2>&1 | tee -a $LOG &
exec "$@"
