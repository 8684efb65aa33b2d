/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HostPlan - a host, what is wanted of it, and the plan that follows, loaded in one go
 *
 * What `dmemctl plan`, apply, verify and dmemd's GetPlan() all begin with. Reads only. What could
 * not be found out stays unknown: configured is NULL without a boot loader that we understand,
 * booted is NULL without a proc/cmdline.
 */

#include <stdbool.h>

#include "basic/macro.h"
#include "host/config.h"
#include "plan/drift.h"
#include "plan/plan.h"

typedef enum Tristate {
        TRISTATE_UNKNOWN = -1,
        TRISTATE_NO = 0,
        TRISTATE_YES = 1,
} Tristate;

typedef struct HostPlan {
        Topology *topology;
        InForce in_force;
        Policy *policy;
        Plan *plan;
        char **configured;        /* own arguments of the next default boot; NULL: unknown */
        char **booted;            /* own arguments of this boot; NULL: unknown */
        Tristate changed;         /* the plan's arguments are not the configured ones */
        Tristate reboot_required; /* the plan's arguments are not the booted ones */
} HostPlan;

/*
 * @config_file: this file alone is the configuration (see config_load()); NULL: the host's
 * @plan_flags:  of plan_make()
 * @errors:      what is wrong in the configuration; to be freed by the caller in any case
 *
 * Returns 0 and a new HostPlan, even if its plan has findings of severity error; -EBADMSG with
 * something in @errors (the configuration) or with nothing in it (sysfs cannot be understood);
 * or another negative errno.
 */
int host_plan_load(int root_fd, const char *config_file, unsigned plan_flags, ConfigErrors *errors,
                   HostPlan **ret);

/*
 * The same with a configuration that is loaded already. @policy stays the caller's; ret->policy is
 * NULL.
 */
int host_plan_make(int root_fd, const Policy *policy, unsigned plan_flags, HostPlan **ret);

HostPlan *host_plan_free(HostPlan *hp); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(HostPlan *, host_plan_free);
