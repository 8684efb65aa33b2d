# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tools share: messages, times, the cache, and packages that install themselves.
# To be sourced by a bash script with `set -euo pipefail`; messages go to stderr.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # used by those who source this
tools=$top/tools
cache=${DMEMD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dmemd}

# What is installed from Debian is what we use, whatever other Python or Meson the user has
export PATH=/usr/sbin:/sbin:/usr/bin:/bin

say() {
        printf '== %s\n' "$*" >&2
}

die() {
        printf '%s: %s\n' "${0##*/}" "$*" >&2
        exit 1
}

usage_error() {
        printf '%s: %s\nTry %s --help.\n' "${0##*/}" "$*" "${0##*/}" >&2
        exit 2
}

# Seconds as 7 s or 3 min 20 s
duration() {
        if (($1 < 100)); then
                printf '%d s' "$1"
        else
                printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
        fi
}

# step "what is done" "expected time" LOGFILE COMMAND...: says what happens and how long it took.
# The output goes to LOGFILE; if the command fails, the end of it is shown and the script ends.
step() {
        local what=$1 expected=$2 log=$3 start=$SECONDS
        shift 3
        say "$what (takes $expected)"
        if ! "$@" >>"$log" 2>&1 </dev/null; then
                tail -n 40 "$log" >&2
                die "$what: failed after $(duration $((SECONDS - start))); all output is in $log"
        fi
        say "$what: done in $(duration $((SECONDS - start)))"
}

# The first 16 digits of the SHA-256 of standard input: keys of things in the cache
short_hash() {
        sha256sum | cut -c 1-16
}

# Names and contents of the files given by name on standard input, NUL-terminated
hash_files() {
        sort -z | xargs -0 -r sha256sum -- | sed "s|$top/||"
}

make_cache() {
        mkdir -p "$cache"/{log,tmp,download} || die "cannot create the cache $cache; set DMEMD_CACHE"
        # Marks the folder as one that backup programs leave out and that may be deleted
        [[ -e $cache/CACHEDIR.TAG ]] ||
                printf 'Signature: 8a477f597d28d172789f06886806bc55\n' >"$cache/CACHEDIR.TAG"
}

# lock NAME: waits for whoever does the same thing now, until this script ends
lock() {
        local fd
        exec {fd}>"$cache/$1.lock"
        if ! flock -n "$fd"; then
                say "waiting for another run that holds $cache/$1.lock"
                flock -w 5400 "$fd" || die "$cache/$1.lock is still held after 90 minutes"
        fi
}

# keep_newest N PATTERN: removes all but the N newest folders in the cache, but none in use
keep_newest() {
        local keep=$1 path
        shift
        # shellcheck disable=SC2012 # names are ours: no blanks, no newlines
        ls -1td "$@" 2>/dev/null | tail -n +$((keep + 1)) | while read -r path; do
                if [[ -e $path/disk.raw ]] && ! flock -n "$path/disk.raw" true; then
                        continue
                fi
                rm -rf "$path"
        done
}

### Packages

as_root() {
        if ((EUID == 0)); then
                "$@"
        elif command -v sudo >/dev/null; then
                sudo -- "$@"
        else
                die "root is needed for: $*; run this as root once, or install sudo"
        fi
}

# In a user namespace with the user's subordinate ids if we are not root: enough to own a root
# file system and to chroot into it
in_namespace() {
        if ((EUID == 0)); then
                "$@"
        else
                unshare --user --map-root-user --map-auto -- "$@"
        fi
}

# Sets release, such as 12, and suite, such as bookworm
require_debian() {
        local id
        # shellcheck disable=SC1091 # not ours
        id=$(. /etc/os-release && printf '%s' "${ID:-}")
        # shellcheck disable=SC1091
        release=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
        # shellcheck disable=SC1091
        suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
        case $id-$release in
        debian-12 | debian-13) ;;
        *) die "this tool installs what it needs on Debian 12 and 13 only; this is ${id:-unknown} ${release:-}" ;;
        esac
        [[ $(dpkg --print-architecture) == amd64 ]] ||
                die "this tool needs an amd64 machine; this is $(dpkg --print-architecture)"
}

have_package() {
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

apt_quiet() {
        as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
                apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
                -o APT::Install-Recommends=false -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# Package lists of the machine's own sources, for when they are missing or too old
update_lists() {
        step "Fetching Debian's package lists" "10 s" "$cache/log/apt.log" apt_quiet update
}

lists_missing() {
        # apt expands $(ORIGIN), not the shell
        # shellcheck disable=SC2016
        [[ -z $(apt-get indextargets --format '$(ORIGIN)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null) ]]
}

# install_packages APT-OPTIONS... -- PACKAGES...
install_packages() {
        local options=()
        while [[ $1 != -- ]]; do
                options+=("$1")
                shift
        done
        shift
        say "installing Debian packages: $* (takes 10 s to 1 min)"
        apt_quiet "${options[@]}" install "$@" >>"$cache/log/apt.log" 2>&1
}

# need_packages PACKAGES...: installs those that are missing; silent when none is
need_packages() {
        local missing=() package
        for package; do
                have_package "$package" || missing+=("$package")
        done
        ((${#missing[@]})) || return 0
        require_debian
        lists_missing && update_lists
        if ! install_packages -- "${missing[@]}"; then
                # The lists may name versions that the mirror no longer has
                update_lists
                install_packages -- "${missing[@]}" || {
                        tail -n 20 "$cache/log/apt.log" >&2
                        die "apt-get could not install: ${missing[*]}; all output is in $cache/log/apt.log"
                }
        fi
}

# The sources of the Debian suite $1, from where apt gets this machine's own, as one-line entries. A
# mirror near the machine is taken from its configuration; none is named here.
debian_sources() {
        local keyring=/usr/share/keyrings/debian-archive-keyring.gpg own
        [[ -e $keyring ]] || die "$keyring is missing; install the package debian-archive-keyring"
        # shellcheck disable=SC1091 # not ours
        own=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
        # The shell must leave $(...) to apt
        # shellcheck disable=SC2016
        apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
                'Created-By: Packages' 'Origin: Debian' | sort -u |
                while read -r uri codename component; do
                        [[ $uri == cdrom:* || $component != main ]] && continue
                        case $codename in
                        "$own" | "$own-updates" | "$own-security")
                                printf 'deb [signed-by=%s] %s %s %s\n' "$keyring" "$uri" \
                                        "$1${codename#"$own"}" "$component"
                                ;;
                        esac
                done
}

# The version of package $1 that apt would install
candidate() {
        apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)' || true
}

# download PACKAGE VERSION: leaves it in the cache and prints the path
download() {
        local file=$cache/download/$1_${2//:/%3a}.deb dir
        if [[ ! -e $file ]]; then
                dir=$(mktemp -d "$cache/tmp/download.XXXXXX")
                # As the calling user, who owns the cache; apt would rather use its own
                step "Downloading the Debian package $1 $2" "up to 1 min" "$cache/log/apt.log" \
                        env -C "$dir" apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 \
                        download "$1=$2"
                mv "$dir"/*.deb "$file"
                rmdir "$dir"
        fi
        printf '%s\n' "$file"
}

# The major version; nothing if QEMU is not installed
qemu_version() {
        ! command -v qemu-system-x86_64 >/dev/null ||
                qemu-system-x86_64 --version | sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p'
}

# QEMU 10 or later: the emulation of 7.2 in Debian 12 crashes guests at random
need_qemu() {
        local version
        version=$(qemu_version)
        if [[ -n $version ]] && ((version >= 10)) && command -v qemu-img >/dev/null; then
                return
        fi
        require_debian
        lists_missing && update_lists
        if [[ $suite == bookworm ]]; then
                install_from_backports qemu-system-x86 qemu-utils
        else
                need_packages qemu-system-x86 qemu-utils
        fi
        version=$(qemu_version)
        ((${version:-0} >= 10)) ||
                die "QEMU 10 or later is needed, qemu-system-x86_64 says: $(qemu-system-x86_64 --version | head -n 1)"
}

# Installs from the backports suite of the mirror in use, through package lists of our own: the
# machine's apt configuration stays as it is.
install_from_backports() {
        local dir sources mirror
        sources=$(debian_sources "$suite")
        mirror=$(awk -v s="$suite" '$4 == s { print $3; exit }' <<<"$sources")
        [[ -n $mirror ]] || die "apt has no source of Debian $suite; add one to /etc/apt/sources.list.d/"
        dir=$(mktemp -d /tmp/dmemd-apt.XXXXXX)
        chmod 755 "$dir" # apt reads it as another user
        mkdir -p "$dir"/{parts,preferences} "$dir"/lists/partial
        printf '%s\n' "$sources" "$(awk -v s="$suite" '$4 == s { $4 = s "-backports"; print; exit }' <<<"$sources")" \
                >"$dir/sources.list"
        local options=(-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts="$dir/parts"
                -o Dir::State::Lists="$dir/lists" -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache=
                -t "$suite-backports")
        step "Fetching the package lists of $suite-backports from $mirror" "10 s" "$cache/log/apt.log" \
                apt_quiet "${options[@]}" update
        install_packages "${options[@]}" -- "$@" || {
                tail -n 20 "$cache/log/apt.log" >&2
                as_root rm -rf "$dir"
                die "apt-get could not install $* from $suite-backports; all output is in $cache/log/apt.log"
        }
        as_root rm -rf "$dir"
}

# has_already TREE PATCH: does this source of Linux have what a patch of ours is for? Fixes get there.
has_already() {
        case ${2##*/} in
        0001-mm-mempolicy-*) # 6.12.118, in other words
                grep -q 'folio = vm_normal_folio_pmd(walk->vma, addr' "$1/mm/mempolicy.c"
                ;;
        *) false ;;
        esac
}
