/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/size-util.h"
#include "fuzz.h"
#include "host/config.h"
#include "plan/plan.h"

const char *const fuzz_seeds[] = {
        "[Plan]\nBackend=dmem\n[Kernel]\nReserve=2G\nReservePercent=3\nBootNodeReserve=2G\n",
        "[Dmem]\nSize=50%\nAlign=1G\nNodes=0-3,7\nCPULessNodes=yes\n[Node 1]\nSize=64G\n",
        "[HugePages]\nPages2M=512\nPages1G=4\nOptimizeVmemmap=no\n[Plan]\nBackend=hugetlb\n",
        "[Mount]\nWhere=/run/dmemfs\nPageSize=1G\nMode=0750\nUser=qemu\nGroup=107\n",
        "# x\n; y\n[BootLoader]\nType=file\nFile=/etc/args\n[Dmem]\nSize=\\\n# z\n  rest\\",
        "\xef\xbb\xbf[Node 0]\r\nReserve=\r\nPages1G=18446744073709551615\r\n",
        NULL,
};

static void check_errors(const ConfigErrors *errors) {
        for (size_t i = 0; i < errors->n_items; i++) {
                FUZZ_EXPECT(errors->items[i].line > 0);
                for (const char *c = errors->items[i].message; *c; c++)
                        FUZZ_EXPECT((unsigned char)*c >= 0x20 && *c != 0x7f);
        }
}

/* Whatever was taken from the text is a policy that a plan can be made with. */
static void check_policy(const Policy *p) {
        TopologyNode nodes[] = {
                { .id = 0, .source = MEMORY_ZONEINFO, .installed = 64 * GiB, .cpus = CPUS_SOME },
                { .id = 7, .source = MEMORY_ZONEINFO, .installed = 3 * TiB + 4096 },
        };
        Topology t = { .page_size = 4096, .nodes = nodes, .n_nodes = ELEMENTSOF(nodes) };
        _cleanup_(plan_freep) Plan *plan = NULL;

        FUZZ_EXPECT(is_power_of_two(p->align) && p->align >= 128 * MiB);
        FUZZ_EXPECT(p->reserve_percent <= 100 && p->mount_mode <= 07777);
        FUZZ_EXPECT(p->mount_where[0] == '/' && p->mount_where[1] != '\0');
        for (size_t i = 1; i < p->n_node_policies; i++)
                FUZZ_EXPECT(p->node_policies[i - 1].id < p->node_policies[i].id);
        if (plan_make(&t, p, 0, &plan) < 0)
                abort();
        for (size_t i = 0; i < plan->n_nodes; i++) {
                const PlanNode *n = &plan->nodes[i];

                FUZZ_EXPECT(n->kernel_bytes + n->dmem_bytes + n->huge_2m * 2 * MiB +
                                    n->huge_1g * GiB ==
                            nodes[i].installed);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(policy_freep) Policy *p = policy_new();
        /* No NUL behind it, so that a read beyond its end is noticed. */
        _cleanup_free_ char *copy = malloc(size > 0 ? size : 1);
        ConfigErrors errors = {};

        if (!p || !copy)
                abort();
        if (size > 0)
                memcpy(copy, data, size);
        if (config_parse("/x.conf", copy, size, &errors, p) < 0)
                abort();
        check_errors(&errors);
        check_policy(p);
        config_errors_done(&errors);
        return 0;
}
