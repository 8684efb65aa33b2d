#!/usr/bin/python
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a verb of dmemctl and words its answer for Ansible. Decides nothing that dmemctl decides."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: dmemctl
short_description: Plan, apply, verify and revert the memory that a host sets aside for guests
version_added: "0.1.0"
description:
  - Runs C(dmemctl), which computes from the memory of the host and from C(dmemd.conf) how much of
    each NUMA node guests get, and writes the boot arguments that follow to the boot loader.
  - What is written takes effect at the next boot. The module never reboots; it says in
    I(reboot_required) whether one is needed, for as long as that is so.
author:
  - The dmemd project (@dmemd)
options:
  state:
    description:
      - C(plan) computes the plan and writes nothing. The task is never C(changed).
      - C(apply) writes the plan to the boot loader. Nothing is written if it is there already.
      - C(verify) compares what is configured, booted and granted with the plan, and fails unless the
        plan is in force and no memory is poisoned. It writes nothing.
      - C(revert) puts the boot settings back as they were before the last C(apply).
    type: str
    choices: [plan, apply, verify, revert]
    default: apply
  root:
    description:
      - Work on the host or image below this folder, as C(dmemctl --root=) does.
    type: path
    default: /
  config:
    description:
      - A file on the host to be read as the whole configuration, in place of C(/etc/dmemd/).
      - Not with I(state=revert), which needs none.
    type: path
  allow_below_floor:
    description:
      - Let less stay with the kernel than is safe, as C(dmemctl --allow-below-floor) does.
      - With I(state=plan) and I(state=apply) only.
    type: bool
    default: false
  drop_ins:
    description:
      - Files as they are to be in C(/etc/dmemd/dmemd.conf.d/), the whole content by the name; an empty one is
        to be missing.
      - With I(state=plan), and with I(state=apply) in check mode, the plan is made as if they were so. That
        tells what a play would do that has not written them, as it runs in check mode.
      - Otherwise the files count that are there.
    type: dict
  executable:
    description:
      - The program to run; a name without a slash is looked for in C(PATH) and in C(/usr/sbin).
    type: path
    default: dmemctl
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target
    support: full
    details:
      - C(apply) and C(revert) run with C(--dry-run); the others write nothing anyway.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode
    support: full
    details:
      - For C(apply) and C(revert) the settings of the boot loader, file by file. What its own tool
        generates from them is named in I(regenerated).
      - For C(plan) the boot arguments, one on each line.
  platform:
    description: Target OS/families that can be operated against
    support: full
    platforms: linux
notes:
  - C(apply) and C(revert) need root (C(become)), other than in check mode.
  - While I(state=verify) compares, it looks at the running host. In a play that runs in check mode it
    sees the host as it is, without what C(apply) would have done.
"""

EXAMPLES = r"""
- name: See what would be set aside
  dmemd.dmemd.dmemctl:
    state: plan
  register: planned

- name: Write it to the boot loader
  dmemd.dmemd.dmemctl:
    state: apply
  become: true
  register: applied

- name: Reboot, only where it is needed
  ansible.builtin.reboot:
  become: true
  when: applied.reboot_required

- name: The plan must be in force now
  dmemd.dmemd.dmemctl:
    state: verify

- name: The same, but live with memory that the hardware has reported as broken
  dmemd.dmemd.dmemctl:
    state: verify
  register: verified
  failed_when: not verified.in_force
"""

RETURN = r"""
plan:
  description:
    - With C(plan) and C(apply), the document that C(dmemctl --json plan) prints, as described by
      C(/usr/share/dmemd/schema/plan.json). Returned as well when an error in it makes the task fail.
  returned: when dmemctl has printed a plan
  type: dict
verification:
  description:
    - With C(verify), the document that C(dmemctl --json verify) prints, as described by
      C(/usr/share/dmemd/schema/verify.json).
  returned: when dmemctl has printed one
  type: dict
arguments:
  description: The boot arguments that are planned or, with C(revert), that the next boot gets.
  returned: success
  type: list
  elements: str
  sample: ["dmem=0:60G,1:62G"]
reboot_required:
  description:
    - Whether the running kernel was started with other arguments than these. Stays true until the
      reboot, also when nothing is left to be changed. Null if it cannot be known, as below I(root).
  returned: success
  type: bool
files:
  description: Settings of the boot loader that were changed, or would be in check mode.
  returned: with C(apply) and C(revert)
  type: list
  elements: str
  sample: ["/etc/default/grub.d/90-dmemd.cfg"]
regenerated:
  description: Files that the boot loader's own tool made anew, or would make in check mode.
  returned: with C(apply) and C(revert)
  type: list
  elements: str
  sample: ["/boot/grub/grub.cfg"]
in_force:
  description: Whether the host runs with the plan, and will at the next boot.
  returned: with C(verify)
  type: bool
findings:
  description: Remarks on the plan or on the host; what programs compare is the code.
  returned: when dmemctl has printed any document
  type: list
  elements: dict
  sample:
    - code: node-excluded
      severity: info
      node: 2
      message: node 2 has no CPUs and is left alone
rc:
  description: Exit status of dmemctl.
  returned: failure
  type: int
"""

import json
import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule

# The version of its JSON that dmemctl promises to keep
JSON_VERSION = 1

# The line that cat-config prints before each file
HEADER = re.compile(r"^# (/(?:etc|run|usr/lib)/dmemd/dmemd\.conf(?:\.d/[^/]+\.conf)?)$")

# Where the drop-ins of drop_ins= are to be
FOLDER = "/etc/dmemd/dmemd.conf.d/"

WITH_CONFIG = ("plan", "apply", "verify")
WITH_FLOOR = ("plan", "apply")


def find_executable(module):
    name = module.params["executable"]
    if "/" in name:
        return name if os.access(name, os.X_OK) and os.path.isfile(name) else None
    return module.get_bin_path(name, required=False, opt_dirs=["/usr/sbin", "/usr/local/sbin"])


def command(module, *arguments):
    argv = [module.params["path"], "--root=" + module.params["root"], "--no-pager"]
    argv += arguments
    return module.run_command(argv, environ_update={"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"})


def run(module, verb, *options):
    """Runs a verb. Returns the exit status, the document or None, and what was said on stderr."""
    params = module.params
    argv = ["--json=short", verb]
    if params["config"] and verb in WITH_CONFIG:
        argv.append("--config=" + params["config"])
    if params["allow_below_floor"] and verb in WITH_FLOOR:
        argv.append("--allow-below-floor")
    argv += options
    rc, out, err = command(module, *argv)
    err = name_origins(module, err)
    document = parse(module, verb, rc, out, err)
    for finding in (document or {}).get("findings", []):
        finding["message"] = name_origins(module, finding["message"])
    return rc, document, err


def parse(module, verb, rc, out, err):
    if not out.strip():
        return None
    try:
        document = json.loads(out)
        version = document["version"]
    except (ValueError, KeyError, TypeError):
        module.fail_json(msg="dmemctl %s: its output is no JSON document" % verb, rc=rc, stdout=out, stderr=err)
    if version != JSON_VERSION:
        module.fail_json(
            msg="dmemctl %s: its JSON has version %s, this module knows %d; use the collection that "
            "belongs to it" % (verb, version, JSON_VERSION),
            rc=rc,
        )
    return document


def said(err):
    """What dmemctl said, in one line, without its name before each sentence."""
    prefix = "dmemctl: "
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    return "; ".join(line[len(prefix):] if line.startswith(prefix) else line for line in lines)


def fail(module, verb, rc, err, **result):
    module.fail_json(
        msg="dmemctl %s: %s" % (verb, said(err) or "failed without a word, exit status %d" % rc),
        rc=rc,
        stderr=err,
        **result
    )


def warn(module, findings):
    for finding in findings:
        if finding["severity"] == "warning":
            module.warn(finding["message"])


def split_configuration(text):
    """What cat-config prints, as the paths of the files and their lines, in the order they are read."""
    files = []
    for line in text.splitlines():
        header = HEADER.match(line)
        if header:
            files.append((header.group(1), []))
        elif files:
            files[-1][1].append(line)
    return files


def with_drop_ins(files, drop_ins):
    """The same with @drop_ins in their places: a drop-in is read by its name, after the main file."""
    main = [f for f in files if not os.path.dirname(f[0]).endswith(".d")]
    found = dict((os.path.basename(f[0]), f) for f in files if f not in main)
    for name, text in drop_ins.items():
        found[name] = (FOLDER + name, text.splitlines())
    return main + [found[name] for name in sorted(found)]


def assume_drop_ins(module):
    """Lets dmemctl read a configuration as it will be, from a file that goes with this module."""
    rc, out, err = command(module, "--no-legend", "cat-config")
    if rc != 0:
        fail(module, "cat-config", rc, err)
    origins = []
    handle, path = tempfile.mkstemp(dir=module.tmpdir, prefix="dmemd.conf.")
    with os.fdopen(handle, "w") as f:
        for origin, text in with_drop_ins(split_configuration(out), module.params["drop_ins"]):
            for number, line in enumerate(text, 1):
                origins.append((origin, number))
                f.write(line + "\n")
    module.params["config"] = path
    module.params["origins"] = origins


def name_origins(module, text):
    """@text with the places in the file of assume_drop_ins() named as those who wrote them know them."""
    origins = module.params.get("origins")
    if not origins:
        return text

    def origin(match):
        path, number = origins[int(match.group(2)) - 1]
        return "%s%s%d" % (path, match.group(1), number)

    return re.sub(re.escape(module.params["config"]) + r"(, line |:)(\d+)", origin, text)


def lines(words):
    return "".join(word + "\n" for word in words or [])


def file_diff(changed):
    return {
        "before_header": changed["path"],
        "after_header": changed["path"],
        "before": changed["before"] or "",
        "after": changed["after"] or "",
    }


def arguments_diff(plan):
    return {
        "before_header": "boot arguments, configured",
        "after_header": "boot arguments, planned",
        "before": lines(plan["configured"]),
        "after": lines(plan["arguments"]),
    }


def load_plan(module):
    """The plan, which must be one that can be applied."""
    rc, plan, err = run(module, "plan")
    if rc != 0 or plan is None:
        found = {"plan": plan, "findings": plan["findings"]} if plan else {}
        fail(module, "plan", rc, err, **found)
    return plan


def do_plan(module):
    plan = load_plan(module)
    result = {
        "changed": False,
        "plan": plan,
        "arguments": plan["arguments"],
        "reboot_required": plan["reboot_required"],
        "findings": plan["findings"],
    }
    if module._diff:
        result["diff"] = arguments_diff(plan)
    return result


def change(module, verb):
    """apply and revert answer in the same form."""
    rc, document, err = run(module, verb, *(["--dry-run"] if module.check_mode else []))
    if rc != 0 or document is None:
        fail(module, verb, rc, err, **({"findings": document["findings"]} if document else {}))
    result = {
        "changed": document["changed"],
        "arguments": document["arguments"],
        "reboot_required": document["reboot_required"],
        "files": [changed["path"] for changed in document["files"]],
        "regenerated": document["regenerated"],
        "findings": document["findings"],
    }
    if module._diff:
        result["diff"] = [file_diff(changed) for changed in document["files"]]
    return result


def do_apply(module):
    plan = load_plan(module)
    return dict(change(module, "apply"), plan=plan)


def do_revert(module):
    return change(module, "revert")


def do_verify(module):
    rc, document, err = run(module, "verify")
    if document is None:
        fail(module, "verify", rc, err)
    result = {
        "changed": False,
        "verification": document,
        "in_force": document["in_force"],
        "arguments": document["planned"],
        "reboot_required": None,
        "findings": document["findings"],
    }
    if document["booted_as_planned"] is not None:
        result["reboot_required"] = not document["booted_as_planned"]
    if rc != 0:
        reasons = [f["message"] for f in document["findings"] if f["severity"] != "info"]
        result["msg"] = "dmemctl verify: " + " ".join([document["advice"]] + reasons)
        result["rc"] = rc
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["plan", "apply", "verify", "revert"], "default": "apply"},
            "root": {"type": "path", "default": "/"},
            "config": {"type": "path"},
            "allow_below_floor": {"type": "bool", "default": False},
            "drop_ins": {"type": "dict"},
            "executable": {"type": "path", "default": "dmemctl"},
        },
        mutually_exclusive=[("config", "drop_ins")],
        supports_check_mode=True,
    )
    state = module.params["state"]
    if module.params["config"] and state not in WITH_CONFIG:
        module.fail_json(msg="config= goes with state=%s, not with state=%s" % (", ".join(WITH_CONFIG), state))
    if module.params["allow_below_floor"] and state not in WITH_FLOOR:
        module.fail_json(
            msg="allow_below_floor= goes with state=%s, not with state=%s" % (", ".join(WITH_FLOOR), state)
        )
    module.params["path"] = find_executable(module)
    if not module.params["path"]:
        module.fail_json(
            msg="there is no %s on this host; install the package dmemd, or name the program by "
            "executable=" % module.params["executable"]
        )
    if module.params["drop_ins"] and (state == "plan" or (state == "apply" and module.check_mode)):
        assume_drop_ins(module)
    states = {"plan": do_plan, "apply": do_apply, "verify": do_verify, "revert": do_revert}
    result = states[state](module)
    warn(module, result["findings"])
    if "rc" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
