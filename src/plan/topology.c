/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/topology.h"
#include "basic/size-util.h"

#define PAGE_SIZE_MIN (4 * KiB)

Topology *topology_free(Topology *t) {
        if (!t)
                return NULL;
        for (size_t i = 0; i < t->n_nodes; i++)
                free(t->nodes[i].cpu_list);
        free(t->nodes);
        free(t);
        return NULL;
}

static bool has_memory(const TopologyNode *node) {
        if (node->source == MEMORY_UNKNOWN)
                return node->has_lowest_block;
        return node->installed > 0;
}

static bool node_is_sound(const TopologyNode *node) {
        if (node->source != MEMORY_UNKNOWN && node->installed < node->region_bytes)
                return false;
        return (node->cpus == CPUS_UNKNOWN) == (node->cpu_list == NULL);
}

int topology_check(const Topology *t) {
        const TopologyNode *boot_node;

        if (!is_power_of_two(t->page_size) || t->page_size < PAGE_SIZE_MIN)
                return -EBADMSG;
        for (size_t i = 0; i < t->n_nodes; i++) {
                if (i > 0 && t->nodes[i - 1].id >= t->nodes[i].id)
                        return -EBADMSG;
                if (!node_is_sound(&t->nodes[i]))
                        return -EBADMSG;
        }
        if (t->boot_node == -1)
                return 0;
        if (t->boot_node < 0)
                return -EBADMSG;
        boot_node = topology_find_node(t, (unsigned)t->boot_node);
        return boot_node && has_memory(boot_node) ? 0 : -EBADMSG;
}

/* Does @a hold lower memory than @b? Both have memory, and @a has the higher id. */
static bool is_lower(const TopologyNode *a, const TopologyNode *b) {
        if (!a->has_lowest_block)
                return false;
        return !b->has_lowest_block || a->lowest_block < b->lowest_block;
}

void topology_choose_boot_node(Topology *t) {
        const TopologyNode *lowest = NULL;

        for (size_t i = 0; i < t->n_nodes; i++) {
                const TopologyNode *node = &t->nodes[i];

                if (has_memory(node) && (!lowest || is_lower(node, lowest)))
                        lowest = node;
        }
        t->boot_node = lowest ? (int)lowest->id : -1;
}

static int compare_id(const void *key, const void *item) {
        const unsigned *id = key;
        const TopologyNode *node = item;

        return (*id > node->id) - (*id < node->id);
}

const TopologyNode *topology_find_node(const Topology *t, unsigned id) {
        if (t->n_nodes == 0)
                return NULL;
        return bsearch(&id, t->nodes, t->n_nodes, sizeof(TopologyNode), compare_id);
}
