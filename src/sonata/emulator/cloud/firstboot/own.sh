# The first boot where the image has no cloud-init: user data, step by step, each instance's first boot once.
# Called as: sh own PROGRAM ARGUMENT... The plan in front of it defines INSTANCE and the functions early_always, early,
# final_always, final, warnings.
umask 022
HERE=/run/firstboot
CLOUD=/var/lib/cloud
NOW=/run/cloud-init
LOG=/var/log/cloud-init-output.log
DEFAULT_USER=cloud-user
[ -r /etc/os-release ] && DEFAULT_USER=$(. /etc/os-release && echo "${ID:-cloud-user}")

command -v tee > /dev/null || tee() { while IFS= read -r line; do echo "$line"; done; }

say() { echo "cloud-init: $*"; }

step() { # name, commands; in a shell of their own, which alone ends when they make no sense
    (eval "$2") || { say "$1 failed"; echo "$1" >> $NOW/errors; }
}

put() { # content, path, owner, permissions, append|replace
    mkdir -p "$(dirname "$2")" || return 1
    if [ "$5" = append ]; then cat "$1" >> "$2"; else cat "$1" > "$2"; fi && chown "$3" "$2" && chmod "$4" "$2"
}

run_script() { # name below the instance, content
    interpreter=$(head -n 1 "$2" | sed -n 's/^#! *\([^ ]*\).*/\1/p')
    [ -z "$interpreter" ] || [ -x "$interpreter" ] || { say "$1: this image has no $interpreter"; return 1; }
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
        useradd "$@" "$name" && only_keys "$name"
    else
        simple_user "$name" "$@" && only_keys "$name"
    fi
}

# "!" instead of a password shuts a user out altogether where sshd asks no PAM; "*" is one that nobody can type.
only_keys() { sed -i "s/^$1:!:/$1:*:/" /etc/shadow; }

simple_user() { # name, options of useradd, in the words of busybox
    name=$1 groups=
    shift
    set -- "$@" --
    while [ "$1" != -- ]; do
        case $1 in
            --comment) set -- "$@" -g "$2" && shift ;;
            --home-dir) set -- "$@" -h "$2" && shift ;;
            --shell) set -- "$@" -s "$2" && shift ;;
            --uid) set -- "$@" -u "$2" && shift ;;
            --gid) set -- "$@" -G "$2" && shift ;;
            --groups) groups=$2 && shift ;;
            --system) set -- "$@" -S ;;
            --no-create-home) set -- "$@" -H ;;
            --create-home | --no-log-init) ;;
            --no-user-group) say "user $name: adduser of this image cannot do $1" ;;
            *) say "user $name: adduser of this image cannot do $1" && shift ;;
        esac
        shift
    done
    shift
    adduser -D "$@" "$name" || return 1
    for group in $(echo "$groups" | tr , ' '); do addgroup "$name" "$group" || return 1; done
}

default_user() {
    grep -q "^$DEFAULT_USER:" /etc/passwd && return
    shell=/bin/sh
    [ -x /bin/bash ] && shell=/bin/bash
    user "$DEFAULT_USER" --create-home --shell $shell
}

expire() { passwd --expire "$1" > /dev/null || chage -d 0 "$1"; }

sudo_rule() {
    mkdir -p /etc/sudoers.d && echo "$1" >> /etc/sudoers.d/90-cloud-init-users &&
        chmod 440 /etc/sudoers.d/90-cloud-init-users
}

sshd_setting() { # keyword, value; of several lines with a keyword sshd follows the first
    file=/etc/ssh/sshd_config
    mkdir -p /etc/ssh && touch $file || return 1
    if grep -qi '^ *Include .*/sshd_config\.d/' $file; then
        file=/etc/ssh/sshd_config.d/50-cloud-init.conf
        mkdir -p /etc/ssh/sshd_config.d && touch $file || return 1
    fi
    rest=$(sed "/^[# ]*$1 /d" $file)
    printf '%s\n' "$1 $2" "$rest" > $file
}

host_keys() { # anew|kept, show|hide, types of keys or none for the usual ones; only where an ssh server is
    [ -x /usr/sbin/sshd ] || return 0
    age=$1 shown=$2
    shift 2
    mkdir -p /etc/ssh /run/sshd && touch /etc/ssh/sshd_config || return 1
    [ "$age" = kept ] || rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    if [ $# = 0 ]; then ssh-keygen -A > /dev/null || return 1; fi
    for kind; do
        key=/etc/ssh/ssh_host_${kind}_key
        [ -e "$key" ] || ssh-keygen -q -t "$kind" -N '' -f "$key" || return 1
    done
    [ "$shown" = hide ] || show_host_keys
}

given_host_keys() { # anew|kept, show|hide, and in turn names of files and their content
    [ -x /usr/sbin/sshd ] || return 0
    age=$1 shown=$2
    shift 2
    mkdir -p /etc/ssh /run/sshd && touch /etc/ssh/sshd_config || return 1
    [ "$age" = kept ] || rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    while [ $# -gt 0 ]; do
        cat "$2" > "/etc/ssh/$1" || return 1
        case $1 in *.pub) chmod 644 "/etc/ssh/$1" ;; *) chmod 600 "/etc/ssh/$1" ;; esac
        shift 2
    done
    [ "$shown" = hide ] || show_host_keys
}

show_host_keys() { # as cloud-init does, for those who want to be sure whom they reach
    echo "-----BEGIN SSH HOST KEY FINGERPRINTS-----"
    for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -l -f "$key"; done
    echo "-----END SSH HOST KEY FINGERPRINTS-----"
    echo "-----BEGIN SSH HOST KEY KEYS-----"
    cat /etc/ssh/ssh_host_*_key.pub
    echo "-----END SSH HOST KEY KEYS-----"
}

packages() { # update|upgrade|install, names
    what=$1
    shift
    say "packages: $what${*:+ $*}"
    if [ ! -w /usr/bin ]; then
        say "packages: /usr of this image is read-only; build an image that has them, see \`sonata image build\`"
        return 1
    elif command -v apt-get > /dev/null; then
        by_apt "$what" "$@"
    elif command -v apk > /dev/null; then
        case $what in update) apk update ;; upgrade) apk upgrade ;; install) apk add "$@" ;; esac || no_mirror
    else
        say "packages: this image has neither apt nor apk"
        return 1
    fi
}

by_apt() { # update|upgrade|install, names
    what=$1
    shift
    export DEBIAN_FRONTEND=noninteractive
    set -- -q -y -o Acquire::Retries=0 -o Acquire::http::Timeout=5 -o Acquire::https::Timeout=5 \
        -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold --no-install-recommends "$what" "$@"
    # Without a mirror apt-get update warns and tells success.
    [ "$what" = update ] && set -- -o APT::Update::Error-Mode=any "$@"
    apt-get "$@" && return
    [ "$what" = update ] && no_mirror
    return 1
}

no_mirror() {
    say "packages: not every mirror is reached from here; a server reaches what its network reaches, never the internet"
    return 1
}

finish() {
    list=
    [ -e $NOW/errors ] && while read -r name; do list="$list${list:+, }\"$name\""; done < $NOW/errors
    source=DataSourceOpenStack
    [ -d /config-2/openstack ] && source=DataSourceConfigDrive
    echo "{\"v1\": {\"datasource\": \"$source\", \"errors\": [$list]}}" > $NOW/result.json
    echo "{\"v1\": {\"datasource\": \"$source\", \"stage\": null, \"finished\": $(date +%s), \"errors\": [$list]}}" \
        > $NOW/status.json
    date > $CLOUD/instance/boot-finished
}

rm -rf $NOW
mkdir -p $NOW $CLOUD/data "$CLOUD/instances/$INSTANCE/sem" /var/log || {
    say "nothing can be followed: the image has a shell, but no tools to write files with"
    exec "$@"
}
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
