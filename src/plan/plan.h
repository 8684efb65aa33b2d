/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Plan - how the memory of this host is divided, computed from Topology and Policy
 *
 * plan_make() is pure: the same host and the same policy give the same plan, before and after it
 * is in force. A wish that cannot be met is a finding, not an errno. All sizes are bytes.
 *
 * Invariant for every node whose memory is known:
 *     installed = kernel_bytes + huge_2m * 2 MiB + huge_1g * 1 GiB + dmem_bytes
 * where kernel_bytes is what really stays with the kernel, the loss to alignment included.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"
#include "plan/policy.h"
#include "plan/topology.h"

typedef enum Severity {
        SEVERITY_INFO,
        SEVERITY_WARNING,
        SEVERITY_ERROR, /* the plan cannot be applied */
        _SEVERITY_MAX,
} Severity;

/* The one place where a remark on a plan is worded; code is what programs and tests compare. */
typedef struct Finding {
        const char *code; /* static text such as `below-floor`; listed in dmemctl(1) */
        Severity severity;
        int node;      /* -1: concerns the whole host */
        char *message; /* what, where, what to do; file and line where it was configured */
} Finding;

typedef struct Findings {
        Finding *items;
        size_t n_items;
} Findings;

void findings_done(Findings *findings);
/* Appends a finding. Returns 0 or -ENOMEM. */
int findings_add(Findings *findings, const char *code, Severity severity, int node,
                 const char *format, ...) _printf_(5, 6);
Severity findings_worst(const Findings *findings); /* SEVERITY_INFO when there are none */
const char *severity_to_string(Severity severity); /* `info`, `warning`, `error` */

typedef struct PlanNode {
        unsigned id;
        bool installed_known;
        uint64_t installed;
        uint64_t kernel_asked; /* the kernel share that the policy asks for */
        uint64_t kernel_bytes; /* what really stays with the kernel */
        uint64_t align_loss;   /* the part of kernel_bytes that only alignment leaves there */
        uint64_t huge_2m;      /* number of pages */
        uint64_t huge_1g;      /* number of pages */
        uint64_t dmem_bytes;
        bool eligible;      /* takes part in the plan */
        const char *reason; /* static text why not, e.g. `no-cpus`; NULL when eligible */
} PlanNode;

/* What the struct pages of this host would cost if the planned guest memory were something else. */
typedef struct PlanAlternative {
        const char *name; /* plain, hugetlb-2M, hugetlb-2M-hvo, hugetlb-1G-hvo, dmem */
        uint64_t metadata_bytes;
} PlanAlternative;

typedef struct Plan {
        Backend backend;
        uint64_t page_size;
        int boot_node; /* -1: none */
        PlanNode *nodes;
        size_t n_nodes;
        char **arguments;       /* boot arguments in their order, NULL-terminated; never NULL */
        uint64_t plain_bytes;   /* struct pages of all memory as plain pages */
        uint64_t planned_bytes; /* struct pages (and vmemmap page tables) under this plan */
        PlanAlternative *alternatives;
        size_t n_alternatives;
        Findings findings;
} Plan;

/* Flags of plan_make() */
#define PLAN_ALLOW_BELOW_FLOOR (1U << 0) /* below-floor is a warning and not an error */

/* Returns 0 and a new plan, or -ENOMEM. */
int plan_make(const Topology *t, const Policy *p, unsigned flags, Plan **ret);
Plan *plan_free(Plan *plan); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Plan *, plan_free);
