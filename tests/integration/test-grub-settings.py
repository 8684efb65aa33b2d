#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply and revert on settings of GRUB as people write them, with the real update-grub.

usage: test-grub-settings.py DMEMCTL [CASE...]

For each case update-grub is first run without us. Either apply then says what is in its way and
changes nothing; or every entry that boots by default has our arguments, the ones for recovery have
none, and grub.cfg is what it was but for that. After revert it is what it was, to the byte. That
takes update-grub four times for each case, so only the cases in QUICK run unless DMEMD_TEST_THOROUGH is
in the environment. Exits 77 where the tools are missing.
"""

import os
import pathlib
import re
import sys
import traceback

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import grub_tree
from grub_tree import CONFIG, SETTINGS, difference, write

PLANNED = "dmem=0:4G,1:14G"
QUICK = ["quotes and dollars", "bash in a file for sh", "arguments hidden from a search",
         "sources a file with ours", "hypervisor by default"]
GRUB = "etc/default/grub"
LAST = "etc/default/grub.d/zz-last.cfg"
CUSTOM = "etc/grub.d/40_custom"


def settings(default, *more):
    """etc/default/grub with another GRUB_CMDLINE_LINUX_DEFAULT, given as it is written."""
    text = SETTINGS.replace('GRUB_CMDLINE_LINUX_DEFAULT="quiet"', default)
    assert text != SETTINGS or default == 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"'
    return text + "".join(f"{line}\n" for line in more)


def custom(text):
    return "#!/bin/sh\nexec tail -n +3 $0\n" + text


DEFAULT = "GRUB_CMDLINE_LINUX_DEFAULT"
XEN = """\
menuentry 'Debian GNU/Linux, with Xen hypervisor' --class xen {
\tmultiboot2\t/boot/xen-4.17-amd64.gz placeholder
\tmodule2\t/boot/vmlinuz-6.12.1-dmem placeholder root=/dev/sda1 ro quiet
}
"""

# Files, and what apply has to say; None: it has to work
CASES = {
    "quotes and dollars": ({GRUB: settings(
        DEFAULT + r'''="quiet memmap=2G\\\$4G a=\"b c\" d='e  f' g=\\\\h"''')}, None),
    "single quotes": ({GRUB: settings(DEFAULT + r"""='quiet memmap=2G\$4G x="y z"'""")}, None),
    "commands": ({GRUB: settings(DEFAULT + '="quiet `echo a=b` $(echo c=d) $((1 + 1))"')}, None),
    "comments": ({GRUB: settings(DEFAULT + '="quiet" # dmem=1G was here', "# dmem=1G",
                                 "\t # GRUB_CMDLINE_LINUX=dmem=1G")}, None),
    "a number sign in a word": ({GRUB: settings(DEFAULT + '="quiet x=#1 y"')}, None),
    "lines that go on": ({GRUB: settings(DEFAULT + '="quiet \\\n  splash \\\n"')}, None),
    "quotes over lines": ({GRUB: settings(DEFAULT + '="quiet\nsplash"')}, None),
    "no value": ({GRUB: settings(DEFAULT + "=")}, None),
    "not set": ({GRUB: settings("")}, None),
    "without quotes": ({GRUB: settings(DEFAULT + "=quiet")}, None),
    "arguments for init": ({GRUB: settings(DEFAULT + '="quiet -- single"')}, None),
    "ends of lines from elsewhere": ({GRUB: SETTINGS.replace("\n", "\r\n")}, None),
    "no end of the last line": ({GRUB: SETTINGS + "GRUB_TIMEOUT=7",
                                 "etc/default/grub.d/50-x.cfg": "GRUB_TIMEOUT=8"}, None),
    "adds to itself": ({GRUB: settings(DEFAULT + '="quiet"', DEFAULT + f'="${{{DEFAULT}}} splash"'),
                        LAST: f'{DEFAULT}="${DEFAULT} last"\n'}, None),
    "bash in a file for sh": ({GRUB: settings(DEFAULT + '="quiet"', DEFAULT + '+=" splash"')},
                              ["update-grub failed", "not found", "as it was before"]),
    "sources another": ({LAST: ". /etc/site.conf\n", "etc/site.conf": "GRUB_TIMEOUT=3\n"}, None),
    "sources a file with ours": ({LAST: "[ ! -e /etc/site.conf ] || . '/etc/site.conf'\n",
                                  "etc/site.conf": f'# mine\n{DEFAULT}="${DEFAULT} dmem=9G"\n'},
                                 ["etc/site.conf, line 2", "dmem=9G"]),
    "sources itself": ({LAST: f"[ $SEEN ] || {{ SEEN=1; . /{LAST}; }}\n"}, None),
    "sets it anew": ({LAST: f"{DEFAULT}='quiet'\n"}, [f"{LAST}, line 1", "rename the file"]),
    "exports it anew": ({LAST: f"\nexport {DEFAULT}='quiet'\n"}, [f"{LAST}, line 2", "rename the file"]),
    "sets it anew on a condition": ({LAST: f"if :; then {DEFAULT}=quiet; fi\n"},
                                    [f"{LAST}, line 1", "rename the file"]),
    "sets it anew where we do not look": ({LAST: ". /etc/site.conf\n",
                                           "etc/site.conf": f"{DEFAULT}=quiet\n"},
                                          ["entry 'Debian", "has none of the dmemd arguments"]),
    "may not be set": ({GRUB: settings(DEFAULT + "=quiet", f"readonly {DEFAULT}")},
                       ["update-grub failed", "as it was before"]),
    "arguments hidden from a search": ({GRUB: settings(DEFAULT + "=quiet", "a=dm b=em=1G",
                                                       'GRUB_CMDLINE_LINUX="$a$b"')},
                                       ["entry 'Debian", f"dmem=1G {PLANNED}"]),
    "leaves early": ({"etc/default/grub.d/50-x.cfg": "exit 0\n"}, ["entry 'Debian", "none of the"]),
    "no recovery": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DISABLE_RECOVERY=true")}, None),
    "another recovery": ({GRUB: settings(DEFAULT + "=quiet",
                                         "GRUB_CMDLINE_LINUX_RECOVERY=systemd.unit=rescue.target")}, None),
    "no submenu": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DISABLE_SUBMENU=y")}, None),
    "default in the submenu": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DISABLE_RECOVERY=true",
                                               "GRUB_DEFAULT='1>1'")}, None),
    "recovery by default": ({GRUB: settings(
        DEFAULT + "=quiet", 'GRUB_DEFAULT="Advanced options for Debian GNU/Linux>'
        'Debian GNU/Linux, with Linux 6.1.0-9-amd64 (recovery mode)"')},
        ["(recovery mode)', which boots by default, is for recovery", "let another entry"]),
    "default by title": ({GRUB: settings(
        DEFAULT + "=quiet", 'GRUB_DEFAULT="Advanced options for Debian GNU/Linux>'
        'Debian GNU/Linux, with Linux 6.1.0-9-amd64"')}, None),
    "default that leads nowhere": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DEFAULT=gone")}, None),
    "default saved": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DEFAULT=saved", "GRUB_SAVEDEFAULT=true"),
                       "boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=1>0\n".ljust(1024, "#")},
                      None),
    "entries by hand": ({CUSTOM: custom("menuentry 'By hand {' { # dmem=1G\n  echo '}' \"$x\" \\\n    ${y}\n"
                                        "  linux /boot/vmlinuz-6.12.1-dmem root=/dev/sda1 a='b c'\n}\n")}, None),
    "entry by hand by default": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DEFAULT='By hand'"),
                                  CUSTOM: custom("menuentry 'By hand' {\n  linux /boot/vmlinuz x\n}\n")},
                                 ["entry 'By hand', which boots by default,", "by hand or let another"]),
    "entry by hand with ours": ({CUSTOM: custom("menuentry 'x' {\n  linux /vmlinuz dmem=1G\n}\n")},
                                [f"{CUSTOM}, line 4", "dmem=1G"]),
    "hypervisor": ({"etc/grub.d/20_linux_xen": custom(XEN)}, None),
    "hypervisor by default": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DEFAULT='Debian GNU/Linux, with Xen "
                                              "hypervisor'"),
                               "etc/grub.d/20_linux_xen": custom(XEN)},
                              ["with Xen hypervisor', which boots by default", "let another entry"]),
    "another system by default": ({GRUB: settings(DEFAULT + "=quiet", "GRUB_DEFAULT=Windows"),
                                   CUSTOM: custom("menuentry Windows {\n  chainloader +1\n}\n")},
                                  ["entry 'Windows', which boots by default", "let another entry"]),
    "its own script for kernels": ({"etc/grub.d/10_linux": custom(
        "menuentry 'Debian mine' {\n  linux /boot/vmlinuz-6.12.1-dmem root=/dev/sda1\n}\n")},
        ["entry 'Debian mine'", "has none of the dmemd arguments"]),
    "many kernels": ({f"boot/vmlinuz-6.{i}.0-dmem": "x\n" for i in range(12)}, None),
}


def without_ours(text):
    """The text of grub.cfg with our arguments taken out of the lines of kernels."""
    return "\n".join(line.replace(f"{PLANNED} ", "") if re.match(r"\s*linux\s", line) else line
                     for line in text.split("\n"))


def prepare(tree, files):
    for path, text in files.items():
        write(tree.root / path, text, 0o755 if path.startswith("etc/grub.d/") else 0o644)


def check_entries(text):
    """Entries of 10_linux: all but those for recovery have ours. No other has."""
    section, n = "", 0
    for line in text.split("\n"):  # a carriage return parts words, not lines
        mark = re.match(r"### (BEGIN|END) (\S+) ###", line)
        if mark:
            section = mark[2] if mark[1] == "BEGIN" else ""
        words = line.split()
        if words[:1] != ["linux"]:
            continue
        recovery = "single" in words[:words.index("--")] if "--" in words else \
            "single" in words or "systemd.unit=rescue.target" in words
        wanted = section.endswith("/10_linux") and not recovery
        before_init = words[:words.index("--")] if "--" in words else words
        assert (PLANNED in before_init) == wanted, f"{section}: {line}"
        assert words.count(PLANNED) == wanted, f"{section}: {line}"
        n += wanted
    assert n >= 3, f"{n} entries have them:\n{text}"


def run_case(tree, files, refusal):
    prepare(tree, files)
    baseline = tree.run_in("/usr/sbin/update-grub")
    before = tree.state()
    config = (tree.root / CONFIG).read_bytes().decode()
    result = tree.run("apply")
    if refusal:
        assert result.returncode == 1, f"exit status {result.returncode}\n{result.stdout}"
        for words in refusal:
            assert words in result.stderr, f"`{words}` is not in:\n{result.stderr}"
        changed = [n for n in difference(before, tree.state()) if n != "var/lib/dmemd"]
        assert not changed, f"changed: {changed}"
        return
    assert baseline.returncode == 0, baseline
    assert result.returncode == 0, result.stderr
    after = (tree.root / CONFIG).read_bytes().decode()
    check_entries(after)
    assert without_ours(after) == config, f"{after}\n--- and before:\n{config}"
    assert tree.json("plan")["configured"] == [PLANNED]
    applied = tree.state()
    assert tree.run("apply", "--unchanged-exit-77").returncode == 77
    assert not difference(applied, tree.state())
    tree.run_in("/usr/sbin/update-grub", check=True)
    assert not difference(applied, tree.state()), "update-grub has changed something"
    assert tree.run("revert").returncode == 0
    changed = [n for n in difference(before, tree.state()) if not n.startswith("var/")]
    assert not changed, f"not as before: {changed}"


def main(parent):
    wanted = sys.argv[2:] or (list(CASES) if os.environ.get("DMEMD_TEST_THOROUGH") else QUICK)
    failed = 0
    for name in wanted:
        tree = grub_tree.Tree(pathlib.Path(sys.argv[1]).resolve(), parent)
        try:
            run_case(tree, *CASES[name])
            print(f"ok   {name}", flush=True)
        except Exception:  # the other cases are to run, too
            failed += 1
            traceback.print_exc()
            print(f"FAIL {name}", flush=True)
        finally:
            tree.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
