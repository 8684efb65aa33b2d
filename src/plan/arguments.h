/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The boot arguments of a plan
 *
 * In this order, each only when needed, always by node and with sizes in the largest exact unit:
 *     dmem=0:60G,1:62G hugepagesz=1G hugepages=0:4,1:4 hugepagesz=2M hugepages=0:512,1:512
 *     hugetlb_free_vmemmap=on
 */

#include <stdbool.h>

#include "plan/plan.h"

/* x86 cuts a command line off there (COMMAND_LINE_SIZE), the final NUL included. */
#define COMMAND_LINE_MAX 2048

/*
 * Builds the arguments from the nodes of @plan; @optimize_vmemmap asks for HVO where there are huge
 * pages. Returns 0 and a NULL-terminated array, empty when nothing is planned, or -ENOMEM.
 */
int plan_build_arguments(const Plan *plan, bool optimize_vmemmap, char ***ret);
