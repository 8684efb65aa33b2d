/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the descriptions of memory (struct page) cost, for a plan and for its alternatives
 *
 * A struct page is 64 bytes per base page. dmem has none. A huge page with optimized vmemmap (HVO)
 * keeps one base page of them, and its part of the memory map is no longer mapped by huge entries,
 * which takes a 4 KiB page table per 128 MiB of memory. HVO does nothing for a huge page whose
 * struct pages fill no more than one base page (2M on a kernel with 16K or 64K pages).
 *
 * An alternative counts the whole host: the kernel's memory as plain pages, and what the plan gives
 * away (dmem and huge pages) as pages of that kind, what such pages leave over as plain pages.
 */

#include "plan/plan.h"

/* Sets plain_bytes, planned_bytes and the alternatives. Returns 0 or -ENOMEM. */
int plan_compute_savings(Plan *plan, bool optimize_vmemmap);

/*
 * Would huge pages with HVO do as well? The criterion: the better of the HVO alternatives loses at
 * most a hundredth of what dmem saves. Returns that alternative, or NULL if not, or if the plan has
 * no dmem.
 */
const PlanAlternative *plan_hvo_would_do(const Plan *plan);

/* What the descriptions (struct page) of that much memory take, in bytes. */
uint64_t struct_pages_size(uint64_t bytes, uint64_t page_size);

/* Bytes that HVO saves on @n_pages huge pages of @huge_size. */
uint64_t savings_of_hvo(uint64_t n_pages, uint64_t huge_size, uint64_t page_size);

/* By name, NULL if there is none. */
const PlanAlternative *plan_find_alternative(const Plan *plan, const char *name);
