/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-plan.h"
#include "basic/root-fs.h"
#include "host/bootloader.h"
#include "host/host-dmem.h"
#include "host/host-memory.h"
#include "plan/cmdline.h"

/* Leaves *ret NULL when no boot loader can say what the next boot gets; only memory is an error. */
static int load_configured(int root_fd, const Policy *policy, char ***ret) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        int r;

        r = boot_loader_find(root_fd, policy, &loader);
        if (r >= 0)
                r = boot_loader_configured(loader, ret);
        return r == -ENOMEM ? r : 0;
}

static Tristate differs(char *const *planned, char *const *other) {
        if (!other)
                return TRISTATE_UNKNOWN;
        return arguments_equal(planned, other) ? TRISTATE_NO : TRISTATE_YES;
}

int host_plan_make(int root_fd, const Policy *policy, unsigned plan_flags, HostPlan **ret) {
        _cleanup_(host_plan_freep) HostPlan *hp = NULL;
        int r;

        hp = new0(HostPlan, 1);
        if (!hp)
                return -ENOMEM;
        r = host_load_in_force(root_fd, &hp->in_force);
        if (r < 0)
                return r;
        r = host_load_topology(root_fd, &hp->in_force, &hp->topology);
        if (r < 0)
                return r;
        r = plan_make(hp->topology, policy, plan_flags, &hp->plan);
        if (r < 0)
                return r;
        r = load_configured(root_fd, policy, &hp->configured);
        if (r < 0)
                return r;
        r = host_load_booted(root_fd, &hp->booted);
        if (r < 0)
                return r;
        hp->changed = differs(hp->plan->arguments, hp->configured);
        hp->reboot_required = differs(hp->plan->arguments, hp->booted);

        *ret = TAKE_PTR(hp);
        return 0;
}

int host_plan_load(int root_fd, const char *config_file, unsigned plan_flags, ConfigErrors *errors,
                   HostPlan **ret) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        int r;

        r = config_load(root_fd, config_file, errors, &policy);
        if (r < 0)
                return r;
        r = host_plan_make(root_fd, policy, plan_flags, ret);
        if (r < 0)
                return r;
        (*ret)->policy = TAKE_PTR(policy);
        return 0;
}

HostPlan *host_plan_free(HostPlan *hp) {
        if (!hp)
                return NULL;
        topology_free(hp->topology);
        in_force_done(&hp->in_force);
        policy_free(hp->policy);
        plan_free(hp->plan);
        strv_free(hp->configured);
        strv_free(hp->booted);
        free(hp);
        return NULL;
}
