/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/savings.h"

#define STRUCT_PAGE_SIZE UINT64_C(64)
#define HVO_TABLE_SIZE (4 * KiB)
#define HVO_TABLE_COVERS (128 * MiB)

typedef enum Kind {
        KIND_PLAIN,
        KIND_HUGETLB_2M,
        KIND_HUGETLB_2M_HVO,
        KIND_HUGETLB_1G_HVO,
        KIND_DMEM,
        _KIND_MAX,
} Kind;

static const char *const kind_names[_KIND_MAX] = {
        [KIND_PLAIN] = "plain",
        [KIND_HUGETLB_2M] = "hugetlb-2M",
        [KIND_HUGETLB_2M_HVO] = "hugetlb-2M-hvo",
        [KIND_HUGETLB_1G_HVO] = "hugetlb-1G-hvo",
        [KIND_DMEM] = "dmem",
};

uint64_t struct_pages_size(uint64_t bytes, uint64_t page_size) {
        return bytes / page_size * STRUCT_PAGE_SIZE;
}

static uint64_t hvo_cost(uint64_t bytes, uint64_t huge_size, uint64_t page_size) {
        uint64_t n_pages = bytes / huge_size, rest = bytes % huge_size;
        uint64_t in_pages = bytes - rest;

        if (struct_pages_size(huge_size, page_size) <= page_size)
                return struct_pages_size(bytes, page_size);
        return n_pages * page_size +
               (in_pages / HVO_TABLE_COVERS + (in_pages % HVO_TABLE_COVERS != 0)) * HVO_TABLE_SIZE +
               struct_pages_size(rest, page_size);
}

static uint64_t cost(Kind kind, uint64_t bytes, uint64_t page_size) {
        switch (kind) {
        case KIND_HUGETLB_2M_HVO:
                return hvo_cost(bytes, 2 * MiB, page_size);
        case KIND_HUGETLB_1G_HVO:
                return hvo_cost(bytes, GiB, page_size);
        case KIND_DMEM:
                return 0;
        default:
                return struct_pages_size(bytes, page_size);
        }
}

uint64_t savings_of_hvo(uint64_t n_pages, uint64_t huge_size, uint64_t page_size) {
        uint64_t bytes;

        if (__builtin_mul_overflow(n_pages, huge_size, &bytes))
                return 0;
        return struct_pages_size(bytes, page_size) - hvo_cost(bytes, huge_size, page_size);
}

int plan_compute_savings(Plan *plan, bool optimize_vmemmap) {
        PlanAlternative *alternatives;

        alternatives = new0(PlanAlternative, _KIND_MAX);
        if (!alternatives)
                return -ENOMEM;
        for (Kind k = 0; k < _KIND_MAX; k++)
                alternatives[k].name = kind_names[k];

        for (size_t i = 0; i < plan->n_nodes; i++) {
                const PlanNode *n = &plan->nodes[i];
                uint64_t huge_2m = n->huge_2m * 2 * MiB, huge_1g = n->huge_1g * GiB;
                uint64_t kernel = struct_pages_size(n->kernel_bytes, plan->page_size);

                for (Kind k = 0; k < _KIND_MAX; k++)
                        alternatives[k].metadata_bytes +=
                                kernel +
                                cost(k, n->dmem_bytes + huge_2m + huge_1g, plan->page_size);
                plan->plain_bytes += struct_pages_size(n->installed, plan->page_size);
                plan->planned_bytes += kernel +
                                       cost(optimize_vmemmap ? KIND_HUGETLB_2M_HVO : KIND_PLAIN,
                                            huge_2m, plan->page_size) +
                                       cost(optimize_vmemmap ? KIND_HUGETLB_1G_HVO : KIND_PLAIN,
                                            huge_1g, plan->page_size);
        }
        plan->alternatives = alternatives;
        plan->n_alternatives = _KIND_MAX;
        return 0;
}

const PlanAlternative *plan_find_alternative(const Plan *plan, const char *name) {
        for (size_t i = 0; i < plan->n_alternatives; i++)
                if (streq(plan->alternatives[i].name, name))
                        return &plan->alternatives[i];
        return NULL;
}

static bool plan_has_dmem(const Plan *plan) {
        for (size_t i = 0; i < plan->n_nodes; i++)
                if (plan->nodes[i].dmem_bytes > 0)
                        return true;
        return false;
}

const PlanAlternative *plan_hvo_would_do(const Plan *plan) {
        const PlanAlternative *best;
        uint64_t plain, dmem;

        if (!plan_has_dmem(plan))
                return NULL;
        assert(plan->n_alternatives == _KIND_MAX);
        plain = plan->alternatives[KIND_PLAIN].metadata_bytes;
        dmem = plan->alternatives[KIND_DMEM].metadata_bytes;
        best = &plan->alternatives[KIND_HUGETLB_2M_HVO];
        if (plan->alternatives[KIND_HUGETLB_1G_HVO].metadata_bytes < best->metadata_bytes)
                best = &plan->alternatives[KIND_HUGETLB_1G_HVO];
        return best->metadata_bytes - dmem <= (plain - dmem) / 100 ? best : NULL;
}
